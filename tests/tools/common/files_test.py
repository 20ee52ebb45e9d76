"""Files are whole or not there, streams and links are written through, and paths are the user's."""

import os
import pathlib
import stat
import tempfile
import threading
import unittest
from unittest import mock

from tools.common.files import check_writable, resolve, write


class FilesTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.path = self.folder / "out.html"

    def test_takes_the_place_of_an_older_file(self) -> None:
        self.path.write_text("old")
        write(self.path, "new é")
        self.assertEqual(self.path.read_text(encoding="utf-8"), "new é")
        self.assertEqual(list(self.folder.iterdir()), [self.path])

    def test_writes_bytes_as_they_are(self) -> None:
        write(self.path, b"\xff\r\n")
        self.assertEqual(self.path.read_bytes(), b"\xff\r\n")

    def test_others_may_read_it_as_they_may_any_new_file(self) -> None:
        write(self.path, "")
        usual = self.folder / "usual"
        usual.write_text("")
        self.assertEqual(self.path.stat().st_mode, usual.stat().st_mode)

    def test_keeps_the_permissions_of_the_older_file(self) -> None:
        self.path.write_text("old")
        self.path.chmod(0o640)
        write(self.path, "new")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_leaves_the_older_file_where_writing_fails(self) -> None:
        self.path.write_text("old")
        for broken in ("replace", "fsync", "write"):
            with mock.patch.object(os, broken, side_effect=OSError), self.assertRaises(OSError):
                write(self.path, "new")
            self.assertEqual(self.path.read_text(), "old")
            self.assertEqual(list(self.folder.iterdir()), [self.path])

    def test_writes_through_links_and_leaves_them_links(self) -> None:
        target = self.folder / "deeper" / "target"
        target.parent.mkdir()
        self.path.symlink_to("deeper/again")
        (self.folder / "deeper" / "again").symlink_to("target")
        for text in ("into what was not there", "into what was"):
            write(self.path, text)
            self.assertTrue(self.path.is_symlink())
            self.assertEqual(target.read_text(), text)

    def test_writes_straight_into_a_pipe(self) -> None:
        os.mkfifo(self.path)
        text = "more than a pipe holds " * 10000
        writer = threading.Thread(target=write, args=(self.path, text))
        writer.start()
        self.assertEqual(self.path.read_text(), text)
        writer.join()
        self.assertTrue(stat.S_ISFIFO(self.path.stat().st_mode))

    def test_leaves_a_device_a_device(self) -> None:
        # A terminal of our own: were the rule broken, /dev/null itself would be lost to the machine.
        master, slave = os.openpty()
        name = pathlib.Path(os.ttyname(slave))
        self.path.symlink_to(name)
        write(self.path, "hello\n")
        arrived = b""  # in parts, maybe
        while not arrived.endswith(b"\n"):
            arrived += os.read(master, 100)
        self.assertEqual(arrived, b"hello\r\n")
        self.assertTrue(stat.S_ISCHR(name.stat().st_mode))
        os.close(master)
        os.close(slave)

    def test_appends_to_its_own_descriptors(self) -> None:
        with self.path.open("w") as file:
            print("before", end=" ", file=file, flush=True)
            write(pathlib.Path(f"/dev/fd/{file.fileno()}"), "after")
            print(" and behind", end="", file=file)
        self.assertEqual(self.path.read_text(), "before after and behind")

    def test_text_without_bytes_is_written_all_the_same(self) -> None:
        write(self.path, "half \ud800 a character")
        self.assertEqual(self.path.read_text(), "half ? a character")

    def test_takes_the_longest_name(self) -> None:
        path = self.folder / ("é" * 127)
        write(path, "text")
        self.assertEqual(path.read_text(), "text")

    def test_asking_touches_nothing(self) -> None:
        check_writable(self.path)
        self.assertEqual(list(self.folder.iterdir()), [])
        for path in (self.folder, self.folder / "nowhere" / "x"):
            with self.assertRaises(OSError):
                check_writable(path)
            with self.assertRaises(OSError):
                write(path, "")
        os.mkfifo(self.path)
        check_writable(self.path)  # and does not wait for a reader

    def test_paths_are_those_of_where_the_user_is(self) -> None:
        with mock.patch.dict(os.environ, {"BUILD_WORKING_DIRECTORY": "/home/user"}):
            self.assertEqual(resolve("a/b"), pathlib.Path("/home/user/a/b"))
            self.assertEqual(resolve("/c"), pathlib.Path("/c"))


if __name__ == "__main__":
    unittest.main()
