"""Files are whole or not there, and paths are the user's."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

from tools.reports.files import resolve, write_atomically


class FilesTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / "out.html"

    def test_takes_the_place_of_an_older_file(self) -> None:
        self.path.write_text("old")
        write_atomically(self.path, "new é")
        self.assertEqual(self.path.read_text(encoding="utf-8"), "new é")
        self.assertEqual(list(self.folder.iterdir()), [self.path])

    def test_others_may_read_it_as_they_may_any_new_file(self) -> None:
        write_atomically(self.path, "")
        usual = self.folder / "usual"
        usual.write_text("")
        self.assertEqual(self.path.stat().st_mode, usual.stat().st_mode)

    def test_leaves_the_older_file_where_writing_fails(self) -> None:
        self.path.write_text("old")
        with self.assertRaises(UnicodeEncodeError):
            write_atomically(self.path, "some of it " * 10000 + "\ud800")
        with mock.patch.object(os, "replace", side_effect=OSError), self.assertRaises(OSError):
            write_atomically(self.path, "new")
        self.assertEqual(self.path.read_text(), "old")
        self.assertEqual(list(self.folder.iterdir()), [self.path])

    def test_paths_are_those_of_where_the_user_is(self) -> None:
        with mock.patch.dict(os.environ, {"BUILD_WORKING_DIRECTORY": "/home/user"}):
            self.assertEqual(resolve("a/b"), pathlib.Path("/home/user/a/b"))
            self.assertEqual(resolve("/c"), pathlib.Path("/c"))


if __name__ == "__main__":
    unittest.main()
