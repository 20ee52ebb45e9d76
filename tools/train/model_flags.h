// The flags of every tool that runs a transformer's step: which model, on which text, in which
// pieces.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/engine_flags.h"
#include "tools/bench/options.h"
#include "tools/io/paths.h"
#include "tp/core/status.h"
#include "tp/model/transformer.h"

namespace tp::train {

struct ModelOptions {
  std::string model;                    // a preset; "" where none is asked for
  std::string hf;                       // or a folder in Hugging Face's layout; "" where not given
  std::optional<TransformerPart> part;  // none: the whole model
  std::vector<std::string> text;        // files
  int64_t batch = 1;                    // sequences a step
  int64_t sequence = 1;                 // tokens of each
  int micro_batches = 1;
  bool within_documents = false;  // attention; else a sequence is one document
  int64_t end_of_text = -1;       // the token that ends a document; -1: only files do
  bool sequence_parallel = false;
  bool recompute = false;
  double weight_decay = 0;
  double clip = 0;      // the largest norm of all gradients; 0: any
  bool masters = true;  // of weights that are narrower than fp32
  bool overlap = false;
  int strands = 1;

  // Whether a transformer is asked for at all.
  bool given() const { return !model.empty() || !hf.empty(); }
};

// Of AdamW, as people take it for small transformers: the default of --lr where one is trained.
inline constexpr char kDefaultRate[] = "0.003";

// "--NAME=VALUE" is refused unless it is a finite number, 0 or more, and no more than fp32 holds.
Status NotNegative(const char* name, double value);

// The command line of a tool that is to take the same step: "--model=llama-tiny --tp=2", and what
// was given beside that and changes it.
std::string FlagsOfStep(const ModelOptions& model, const bench::BenchOptions& engine);

// The names of the flags above.
std::vector<const char*> ModelFlags();

// Of a tool that was asked for no model. Errors: one of them is given, and would change nothing.
Status RefuseFlagsOfAModel();

// For the help.
std::vector<bench::HelpTopic> ModelTopics();
// Of tools that also run a part of the model.
bench::HelpTopic PartTopic();

// What the flags say. Errors: INVALID_ARGUMENT that names the flag, its value, and what it may be.
StatusOr<ModelOptions> ReadModelFlags();

// The files of a folder in Hugging Face's layout, which `flag` names.
std::vector<io::NamedFile> CheckpointFiles(const std::string& flag, const std::string& folder);

// The files that a model is read from, and its text.
std::vector<io::NamedFile> FilesRead(const ModelOptions& options);

}  // namespace tp::train
