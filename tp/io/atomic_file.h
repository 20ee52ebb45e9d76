// Output files that are there whole or not at all.
//
// Bytes go to a temporary file beside the target, which is synced and then renamed over it, so a
// reader, a full disk or a crash never meets half a file, and a target that was there before stays
// as it was until the new one is complete. An existing target keeps its permissions; a symbolic
// link stays a link. What is no regular file (a pipe, /dev/null) and the process's own descriptors
// (/dev/stdout) are written straight, since there is nothing to rename. Any thread may call.
#pragma once

#include <string>
#include <string_view>

#include "tp/core/status.h"

namespace tp::io {

// Makes `contents` the whole contents of `path`. The folder must exist. On any error the target is
// as before and no temporary file stays.
Status WriteFileAtomically(const std::string& path, std::string_view contents);

// The file that WriteFileAtomically(path) would make where there is none yet: where links lead to.
std::string BehindLinks(const std::string& path);

// Whether WriteFileAtomically(path) would write straight, so that nothing can be read back.
bool IsStream(const std::string& path);

// A descriptor that writes behind all that is in a file that is there; or -1, and errno says why.
// Where the path names one of this process's own (/dev/stdout) it shares that one's place:
// redirected to a file, what either writes comes behind what the other wrote.
int OpenToAppend(const std::string& path);

// Whether WriteFileAtomically(path) would get as far as writing: to be asked before long work.
// Leaves nothing behind and does not touch an existing file.
Status CheckWritable(const std::string& path);

// Makes the folder `path` and those above it where they are missing, as mkdir -p does.
Status CreateDirectories(const std::string& path);

}  // namespace tp::io
