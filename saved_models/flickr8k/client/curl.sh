#!/bin/sh
# Asks a server for the answer that expected.json holds: sh curl.sh [HOST:PORT]
cd "$(dirname "$0")"
curl --silent --show-error --data @request_row.json "http://${1:-localhost:8501}/v1/models/flickr8k:predict"
