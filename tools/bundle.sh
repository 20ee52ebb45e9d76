#!/bin/bash
# Makes one relocatable tarball of programs: tools/bundle.sh OUT.tar.gz PROGRAM...
# A program may be a folder's __main__.py; what it imports is named too.
#
#   NAME/bin/PROGRAM      starts libexec/PROGRAM with lib/ on the library path
#   NAME/libexec/PROGRAM  the program, stripped; Python files as they lie in the project
#   NAME/lib/             every shared library that it needs, but for those that come with the
#                         system (glibc, libstdc++) and with CUDA (cudart, cuBLAS, NCCL, the
#                         driver), which must match the machine. CUPTI, which profiles, is often
#                         not where CUDA is, and so comes along
set -euo pipefail

out=$1
shift
name=$(basename "$out" .tar.gz)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name
mkdir -p "$root"/{bin,libexec,lib}

of_the_machine='^(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libresolv|libutil'
of_the_machine+='|libgcc_s|libstdc\+\+|libcuda|libcudart|libcublas|libcublasLt|libnccl'
of_the_machine+='|libnvidia-.*)\.so'

# Adds every shared library that a program or library is linked with.
add_libraries() {
  local library path
  # "name => path (address)"; a library that is found nowhere has no path.
  while read -r library path; do
    [[ $library =~ $of_the_machine ]] && continue
    if [[ $path != /* ]]; then
      echo "$(basename "$1") needs $library, which is not on this machine" >&2
      exit 1
    fi
    install -m 755 "$path" "$root/lib/$library"
    [[ $library == libcupti.* ]] || strip --strip-unneeded "$root/lib/$library"  # stays NVIDIA's
  done < <(ldd "$1" | awk '$2 == "=>" {print $1, $3}')
}

for program in "$@"; do
  if [[ $program == *.py ]]; then
    file=tools/${program##*tools/}
    install -D -m 644 "$program" "$root/libexec/$file"
    [[ $file == */__main__.py ]] || continue
    base=$(basename "$(dirname "$file")")
    cat > "$root/bin/$base" <<'WRAPPER'
#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
PYTHONPATH="$here/libexec${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
exec python3 "$here/libexec/tools/$(basename -- "$0")/__main__.py" "$@"
WRAPPER
    chmod 755 "$root/bin/$base"
    continue
  fi
  base=$(basename "$program")
  install -m 755 "$program" "$root/libexec/$base"
  strip "$root/libexec/$base"
  cat > "$root/bin/$base" <<'WRAPPER'
#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "$here/libexec/$(basename -- "$0")" "$@"
WRAPPER
  chmod 755 "$root/bin/$base"
  add_libraries "$program"
done

# OpenBLAS is no program's: backends/cpu/openblas.cc loads it later.
# (awk reads to the end: one that leaves earlier breaks the pipe that ldconfig still writes to.)
blas=$(/sbin/ldconfig -p | awk '$1 == "libopenblas.so.0" && !path {path = $NF} END {print path}')
if [[ -n $blas ]]; then
  install -m 755 "$blas" "$root/lib/libopenblas.so.0"
  strip --strip-unneeded "$root/lib/libopenblas.so.0"
  add_libraries "$blas"
fi

cat > "$root/README.txt" <<'README'
bin/bench, bin/collectives, bin/predict, bin/train, bin/verify and bin/sweep say with --help what
there is. Nothing needs to be installed
where there are

- glibc 2.34 and libstdc++ of GCC 11, or newer (Ubuntu 22.04, RHEL 9, Debian 12, ...);
- for GPUs, NVIDIA's driver, and of CUDA 13 libcudart.so.13, libcublas.so.13, libcublasLt.so.13 and
  libnccl.so.2 (2.28 or newer), in /usr/local/cuda/lib64, in the system's folders or on
  LD_LIBRARY_PATH;
- for sweep, Python 3.9 or newer.

To run a program under a tool, name the program itself:
  LD_LIBRARY_PATH=lib compute-sanitizer libexec/gpu_selftest
README

tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
  --directory="$work" "$name" | gzip --no-name > "$out"
