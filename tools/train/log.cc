#include "tools/train/log.h"

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <nlohmann/json.hpp>

#include "tools/io/paths.h"
#include "tp/io/atomic_file.h"
#include "tp/io/byte_source.h"
#include "tp/io/system_error.h"

namespace tp::train {

using Json = nlohmann::ordered_json;

std::string KeptLines(std::string_view log, int64_t done) {
  std::string kept;
  for (size_t begin = 0, end; (end = log.find('\n', begin)) != std::string_view::npos;
       begin = end + 1) {
    const std::string_view line = log.substr(begin, end - begin);
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) continue;
    if (json["step"].get<int64_t>() <= done) kept.append(line).append("\n");
  }
  return kept;
}

StatusOr<std::unique_ptr<Log>> Log::Open(const std::string& path, int64_t done) {
  std::string kept;
  if (done > 0 && io::Exists(path) && !io::IsStream(path)) {
    TP_ASSIGN_OR_RETURN(const std::unique_ptr<io::ByteSource> file, io::OpenFile(path));
    std::string before(static_cast<size_t>(file->size()), '\0');
    TP_RETURN_IF_ERROR(file->Read(0, std::as_writable_bytes(std::span(before))));
    kept = KeptLines(before, done);
  }
  TP_RETURN_IF_ERROR(io::WriteFileAtomically(path, kept));
  const int descriptor = io::OpenToAppend(path);
  if (descriptor < 0) return io::SystemError(path, "can't be opened", errno);
  return std::unique_ptr<Log>(new Log(path, descriptor));
}

Log::~Log() { close(descriptor_); }

Status Log::AddStep(const StepMetrics& metrics, int64_t tokens) {
  Json line = {{"step", metrics.step},
               {"loss", metrics.loss},
               {"gradient_norm", metrics.norm},  // null where it is not finite
               {"learning_rate", metrics.rate},
               {"seconds", metrics.seconds},
               {"tokens", tokens}};
  if (metrics.loss_scale > 0) {
    line["loss_scale"] = metrics.loss_scale;
    line["skipped"] = metrics.skipped;
  }
  return Append(line.dump());
}

Status Log::AddHeldOut(int64_t step, double loss) {
  return Append(Json{{"step", step}, {"held_out_loss", loss}}.dump());
}

Status Log::Append(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = write(descriptor_, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io::SystemError(path_, "can't be written", errno);
    done += static_cast<size_t>(written);
  }
  return OkStatus();
}

}  // namespace tp::train
