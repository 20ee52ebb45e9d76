// A predicted step as MLCommons' Chakra execution traces, which ASTRA-sim and others read: a file
// for each rank, PREFIX.RANK.et, and PREFIX.groups.json, the ranks of each group by its number.
//
// A file is a row of protobuf messages, each behind its length: GlobalMetadata, then a Node for
// each op, in the order of the schedule. Of a node: name, type (COMP_NODE, COMM_COLL_NODE), when it
// begins and how long it takes (whole microseconds, predicted), and data_deps: the op before it on
// its stream, and what it waits for on others. Its attributes:
//
//   is_cpu_op              false
//   phase, stream          words
//   predicted_duration_ps  what duration_micros cuts short
//   num_ops, tensor_size   COMP_NODE: operations; bytes that it reads and writes
//   comm_type, comm_size   COMM_COLL_NODE: a CollectiveCommType; bytes of the whole array
//   pg_name                COMM_COLL_NODE: the number of its group
//
// Source: schema/protobuf/et_def.proto of github.com/mlcommons/chakra, version 0.0.4 (field
// numbers), and the attributes that its feeder reads; "Encoding" of protobuf.dev (the wire format).
#pragma once

#include <string>

#include "backends/predict/world.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"

namespace tp::predict_tool {

// The bytes of the file of `rank` of the mesh.
std::string ToChakra(const predict::Prediction& prediction, const Mesh& mesh, int rank);

// {"0": [0, 1], ...}: the groups of two ranks or more, of each axis.
std::string ChakraGroups(const Mesh& mesh);

// All files. Errors: those of writing.
Status WriteChakra(const predict::Prediction& prediction, const Mesh& mesh,
                   const std::string& prefix);

}  // namespace tp::predict_tool
