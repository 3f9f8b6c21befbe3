"""Scripts for a process in which neither rnnapps nor Keras can be imported."""

HIDE = """
import importlib.machinery, sys
class NotInstalled(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in ("rnnapps", "keras", "tf_keras")
        return None if hidden else super().find_spec(name, path, target)
sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, NotInstalled]
"""
