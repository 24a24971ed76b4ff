// The two ways in which a run fails. RunError is the user's or the machine's mistake (a broken file, a wrong
// rank count, a token beyond the vocabulary); RankFailure is a rank that threw while it ran a step.
#pragma once

#include <stdexcept>
#include <string>

namespace shardc::runtime {

class RunError : public std::runtime_error {
 public:
  explicit RunError(const std::string& message, std::string hint = {})
      : std::runtime_error(message), hint_(std::move(hint)) {}
  const std::string& hint() const { return hint_; }  // what to do about it; may be empty

 private:
  std::string hint_;
};

class RankFailure : public std::runtime_error {
 public:
  RankFailure(int rank, const std::string& what)
      : std::runtime_error("rank " + std::to_string(rank) + " failed: " + what), rank_(rank) {}
  int rank() const { return rank_; }

 private:
  int rank_;
};

}  // namespace shardc::runtime
