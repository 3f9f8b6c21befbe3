"""The C++ program takes numbers and says what is none, around a model that writes its seed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import rnnapps.portable

CPP = Path(rnnapps.portable.__file__).parent / "cpp" / "main.cc"
MODEL = """
#include <string>
namespace rnnapps {
struct Model {
  static constexpr int kNumArgs = 0;
  float temperature = 0; int seed = 0, forced = 0; int num_forced = 0, tokens[4], state = 0;
  void* arg_data(int) { return nullptr; }
  int arg_size(int) { return 0; }
  float* arg_feed_temperature_data() { return &temperature; }
  int* arg_feed_seed_data() { return &seed; }
  int* arg_feed_forced_data() { return &forced; }
  int* arg_feed_num_forced_data() { return &num_forced; }
  int* result_fetch_tokens_data() { return tokens; }
  int* arg_feed_state_data() { return &state; }
  int* result_fetch_next_state_data() { return &state; }
  int arg_feed_state_size() { return 0; }
  std::string error_msg() { return ""; }
  bool Run() { for (int& token : tokens) token = seed + (temperature > 1); return true; }
};
}
"""
VOCABULARY = """
constexpr bool kBytes = false;
constexpr int kNumSymbols = 3, kChunk = 4;
const char* const kSymbols[] = {"a", "b", "c"};
constexpr int kLengths[] = {1, 1, 1};
#define CARRIED(DO) DO(state)
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("program")
    (folder / "model.h").write_text(MODEL)
    (folder / "vocabulary.h").write_text(VOCABULARY)
    subprocess.run([compiler, "-std=c++17", "-I", folder, CPP, "-o", folder / "write"], check=True)
    return folder / "write"


def run(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_numbers_are_taken(program):
    assert run(program, "", "5", "0.7", "1") == (0, "aaaaa", "")
    assert run(program, "", "2", "1.5e0", "2") == (0, "cc", "")
    assert run(program, "", "0") == (0, "", "")


@pytest.mark.parametrize("value", ["-1", "nan", "abc", "", "1.5", "3x", "99999999999999999999"])
def test_a_length_that_is_none(program, value):
    assert run(program, "", value) == (2, "", f"error: NUM_CHARS is '{value}': wanted a whole number from 0\n")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "abc", "", "0.7x"])
def test_a_temperature_that_is_none(program, value):
    assert run(program, "", "3", value) == (2, "", f"error: TEMPERATURE is '{value}': wanted a number from 0\n")


@pytest.mark.parametrize("value", ["abc", "1.5", "", "2147483648"])
def test_a_seed_that_is_none(program, value):
    assert run(program, "", "3", "1", value) == (2, "", f"error: SEED is '{value}': wanted a whole number of 32 bits\n")
