// Status and StatusOr: how the engine reports what the environment or the input can cause.
//
// A Status is OK or a code with one message that a person can act on. It owns its message, copies
// freely and never throws. Programmers' mistakes are glog CHECKs instead and have no Status.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace tp {

enum class StatusCode {
  kOk,
  kInvalidArgument,     // the caller's input can never work
  kNotFound,            // a file or device that was named is not there
  kUnavailable,         // this build or machine lacks something; another one may have it
  kDeadlineExceeded,    // a wait outlived its deadline
  kAborted,             // another rank failed first; the message names it and its cause
  kFailedPrecondition,  // right call, wrong state
  kInternal,            // a library or the system failed underneath
};

// The code's name, as in "INVALID_ARGUMENT".
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message);

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // "OK", or "INVALID_ARGUMENT: message".
  std::string ToString() const;

  // The same error with "context: " before its message; OK stays OK.
  Status WithContext(std::string_view context) const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status OkStatus() { return Status(); }
Status InvalidArgument(std::string message);
Status NotFound(std::string message);
Status Unavailable(std::string message);
Status DeadlineExceeded(std::string message);
Status Aborted(std::string message);
Status FailedPrecondition(std::string message);
Status Internal(std::string message);

// Ends the process, as a programmer's mistake does, with what the status says in the log.
[[noreturn]] void DieOfStatusOr(const Status& status);

// A T or the reason why there is none. Reading the value of an error is a programmer's mistake.
template <typename T>
class [[nodiscard]] StatusOr {
 public:
  StatusOr(T value)
      : value_(std::move(value)) {}  // NOLINT: implicit, so that `return value;` works
  StatusOr(Status status) : status_(std::move(status)) {  // NOLINT: implicit likewise
    if (status_.ok()) DieOfStatusOr(status_);
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() & {
    if (!ok()) DieOfStatusOr(status_);
    return *value_;
  }
  const T& value() const& {
    if (!ok()) DieOfStatusOr(status_);
    return *value_;
  }
  T&& value() && {
    if (!ok()) DieOfStatusOr(status_);
    return *std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace tp

#define TP_CONCAT_INNER(a, b) a##b
#define TP_CONCAT(a, b) TP_CONCAT_INNER(a, b)

// Returns the error of `expression` from the enclosing function, if it has one.
#define TP_RETURN_IF_ERROR(expression)                            \
  do {                                                            \
    if (::tp::Status tp_status = (expression); !tp_status.ok()) { \
      return tp_status;                                           \
    }                                                             \
  } while (false)

// Declares or assigns `lhs` from a StatusOr, or returns its error.
#define TP_ASSIGN_OR_RETURN(lhs, expression) \
  TP_ASSIGN_OR_RETURN_INNER(TP_CONCAT(tp_status_or_, __LINE__), lhs, expression)
#define TP_ASSIGN_OR_RETURN_INNER(name, lhs, expression) \
  auto name = (expression);                              \
  if (!name.ok()) return name.status();                  \
  lhs = std::move(name).value()
