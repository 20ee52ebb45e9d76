"""Files of ids: what is written is read back, and is what NumPy and nanoGPT write."""

import pathlib
import subprocess
import tempfile
import unittest

from tools.tokens.ids import decode_bin, decode_npy, encode_bin, encode_npy


class IdsTest(unittest.TestCase):
    def test_comes_back(self) -> None:
        for ids in ([], [0], [65535, 0, 258]):
            self.assertEqual(decode_bin(encode_bin(ids)), ids)
            self.assertEqual(decode_npy(encode_npy(ids)), ids)
        self.assertEqual(decode_npy(encode_npy([65536, 1])), [65536, 1])

    def test_is_what_others_write(self) -> None:
        self.assertEqual(encode_bin([1, 65535]), b"\x01\x00\xff\xff")
        header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }"
        whole = b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n\x01\x00\x02\x00"
        self.assertEqual(encode_npy([1, 2]), whole)

    def test_says_what_is_wrong(self) -> None:
        with self.assertRaisesRegex(ValueError, "an id is 65536"):
            encode_bin([1, 65536])
        with self.assertRaisesRegex(ValueError, "3 bytes"):
            decode_bin(b"abc")
        whole = encode_npy([1, 2, 3])
        for bad in (b"", b"abc", whole[:9], whole[:40], whole[:-2], whole[:-1], whole + b"ab"):
            with self.assertRaises(ValueError):
                decode_npy(bad)
        with self.assertRaisesRegex(ValueError, "not one that this tool writes"):
            decode_npy(whole.replace(b"<u2", b"<f8"))


class ToolTest(unittest.TestCase):
    def test_an_output_that_is_an_input_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            text, tokenizer = (pathlib.Path(folder, name) for name in ("text", "tokenizer.json"))
            for flag, output in (("input", text), ("--tokenizer", tokenizer)):
                output.write_text("kept")
                result = subprocess.run(
                    ["tools/tokens/tokens", "encode", text, output, f"--tokenizer={tokenizer}"],
                    capture_output=True,
                    text=True,
                )
                words = f"tokens: output would overwrite {output}, which {flag} names, too; "
                self.assertEqual((result.returncode, result.stdout), (1, ""))
                self.assertRegex(result.stderr, rf"\A{words}.*\n\Z")
                self.assertEqual(output.read_text(), "kept")


if __name__ == "__main__":
    unittest.main()
