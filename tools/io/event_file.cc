#include "tools/io/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>

#include "fmt/format.h"
#include "tp/core/clock.h"
#include "tp/io/atomic_file.h"
#include "tp/io/system_error.h"

namespace tp::io {
namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc % 2 != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    table[i] = crc;
  }
  return table;
}();

void AppendLittleEndian(std::string& to, uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) to += static_cast<char>(number >> (8 * i));
}

void AppendChecksum(std::string& to, std::string_view of) {
  AppendLittleEndian(to, std::rotr(Crc32c(of), 15) + 0xa282ead8, 4);
}

// The fields of a protocol buffer: a key of number and wire type, then the value.
void AppendVarint(std::string& to, uint64_t number) {
  for (; number >= 128; number >>= 7) to += static_cast<char>(number | 128);
  to += static_cast<char>(number);
}

void AppendBytes(std::string& to, int field, std::string_view bytes) {
  AppendVarint(to, static_cast<uint64_t>(field) << 3 | 2);
  AppendVarint(to, bytes.size());
  to += bytes;
}

void AppendDouble(std::string& to, int field, double value) {
  AppendVarint(to, static_cast<uint64_t>(field) << 3 | 1);
  AppendLittleEndian(to, std::bit_cast<uint64_t>(value), 8);
}

void AppendFloat(std::string& to, int field, float value) {
  AppendVarint(to, static_cast<uint64_t>(field) << 3 | 5);
  AppendLittleEndian(to, std::bit_cast<uint32_t>(value), 4);
}

void AppendInteger(std::string& to, int field, int64_t value) {
  AppendVarint(to, static_cast<uint64_t>(field) << 3);
  AppendVarint(to, static_cast<uint64_t>(value));
}

// With its wall_time.
std::string NewEvent() {
  std::string event;
  AppendDouble(event, 1, static_cast<double>(CalendarNs()) / 1e9);
  return event;
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (char byte : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<uint8_t>(byte)) & 255];
  return ~crc;
}

StatusOr<std::unique_ptr<EventFile>> EventFile::Create(const std::string& folder) {
  TP_RETURN_IF_ERROR(CreateDirectories(folder));
  char host[256] = "host";
  [[maybe_unused]] const int named = gethostname(host, sizeof(host) - 1);
  const std::string path = fmt::format("{}/events.out.tfevents.{}.{}.{}", folder,
                                       CalendarNs() / 1'000'000'000, host, getpid());
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0) return SystemError(path, "can't be made", errno);
  std::unique_ptr<EventFile> file(new EventFile(path, descriptor));
  std::string event = NewEvent();
  AppendBytes(event, 3, "brain.Event:2");  // file_version
  TP_RETURN_IF_ERROR(file->Append(event));
  return file;
}

EventFile::~EventFile() { close(descriptor_); }

Status EventFile::Add(int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;
    AppendBytes(value, 1, tag);
    AppendFloat(value, 2, static_cast<float>(number));  // simple_value
    AppendBytes(summary, 1, value);
  }
  std::string event = NewEvent();
  AppendInteger(event, 2, step);
  AppendBytes(event, 5, summary);
  return Append(event);
}

Status EventFile::Append(std::string_view event) {
  std::string record;
  AppendLittleEndian(record, event.size(), 8);
  AppendChecksum(record, record);
  record += event;
  AppendChecksum(record, event);
  for (size_t done = 0; done < record.size();) {
    const ssize_t written = write(descriptor_, record.data() + done, record.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(path_, "can't be written", errno);
    done += static_cast<size_t>(written);
  }
  return OkStatus();
}

}  // namespace tp::io
