#include "sim/fabric/fabric.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "sim/fabric/reduce.h"

namespace tp::sim {
namespace {

class MailboxEndpoint final : public Endpoint {
 public:
  MailboxEndpoint(Scheduler& scheduler, std::shared_ptr<Group> group, int member)
      : scheduler_(scheduler), group_(std::move(group)), member_(member) {}

  int member() const override { return member_; }
  int size() const override { return group_->size(); }
  int64_t bytes_sent() const override { return bytes_sent_; }

  Status Send(int to, std::span<const std::byte> data) override {
    Mailbox& box = group_->MailboxOf(member_, to);
    const uint64_t number = box.posted.value() + 1;
    if (number > Mailbox::kSlots) {
      TP_RETURN_IF_ERROR(AwaitConsumed(to, number - Mailbox::kSlots));
    }
    box.messages[number % Mailbox::kSlots] = {data.data(), data.size()};
    bytes_sent_ += static_cast<int64_t>(data.size());
    scheduler_.Raise(box.posted, number);
    return OkStatus();
  }

  Status Recv(int from, std::span<std::byte> data) override {
    TP_ASSIGN_OR_RETURN(const std::byte* message, AwaitMessage(from, data.size()));
    if (!data.empty()) std::memcpy(data.data(), message, data.size());
    Consume(from);
    return OkStatus();
  }

  Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                    DType dtype, Reduction reduction) override {
    TP_ASSIGN_OR_RETURN(const std::byte* message, AwaitMessage(from, out.size()));
    sim::Reduce(dtype, reduction, local, {message, out.size()}, out);
    Consume(from);
    return OkStatus();
  }

  void Copy(const std::byte* from, std::span<std::byte> to) override {
    if (from != to.data() && !to.empty()) std::memcpy(to.data(), from, to.size());
  }

  void Reduce(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte> out,
              DType dtype, Reduction reduction) override {
    sim::Reduce(dtype, reduction, a, b, out);
  }

  Status Flush() override {
    for (int to = 0; to < size(); ++to) {
      TP_RETURN_IF_ERROR(AwaitConsumed(to, group_->MailboxOf(member_, to).posted.value()));
    }
    return OkStatus();
  }

 private:
  Status AwaitConsumed(int to, uint64_t number) {
    Mailbox& box = group_->MailboxOf(member_, to);
    if (box.consumed.value() >= number) return OkStatus();
    return scheduler_.Await(box.consumed, number, Reason("reading a message", to));
  }

  StatusOr<const std::byte*> AwaitMessage(int from, size_t bytes) {
    Mailbox& box = group_->MailboxOf(from, member_);
    const uint64_t number = box.consumed.value() + 1;
    TP_RETURN_IF_ERROR(scheduler_.Await(box.posted, number, Reason("a message", from)));
    const Mailbox::Message& message = box.messages[number % Mailbox::kSlots];
    if (message.size != bytes) {
      return Internal("message " + std::to_string(number) + " from rank " +
                      std::to_string(group_->ranks[from]) + " to rank " +
                      std::to_string(group_->ranks[member_]) + " has " +
                      std::to_string(message.size) + " bytes, its receiver expects " +
                      std::to_string(bytes));
    }
    return message.data;
  }

  void Consume(int from) {
    Mailbox& box = group_->MailboxOf(from, member_);
    scheduler_.Raise(box.consumed, box.consumed.value() + 1);
  }

  WaitReason Reason(const char* what, int peer) const {
    return {.what = what, .rank = group_->ranks[member_], .peer = group_->ranks[peer]};
  }

  Scheduler& scheduler_;
  const std::shared_ptr<Group> group_;
  const int member_;
  int64_t bytes_sent_ = 0;
};

std::string RankList(const std::vector<int>& ranks) {
  std::string text = "[";
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(ranks[i]);
  }
  return text + "]";
}

}  // namespace

Group::Group(uint64_t id, const std::vector<int>& ranks)
    : id(id),
      ranks(ranks),
      joined(ranks.size(), false),
      mailboxes(ranks.size() * ranks.size()),
      seats(ranks.size()) {}

Fabric::Fabric(Scheduler& scheduler, int world, WrapEndpoint wrap)
    : scheduler_(scheduler), world_(world), wrap_(std::move(wrap)) {
  CHECK_GE(world, 1);
}

StatusOr<std::shared_ptr<Group>> Fabric::Join(uint64_t id, const std::vector<int>& ranks,
                                              int rank) {
  const std::string who =
      "rank " + std::to_string(rank) + " joins group " + std::to_string(id) + " of ranks ";
  std::vector<int> sorted = ranks;
  std::sort(sorted.begin(), sorted.end());
  if (sorted.empty() || sorted.front() < 0 || sorted.back() >= world_ ||
      std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return InvalidArgument(who + RankList(ranks) + ": they must be different ranks of a world of " +
                           std::to_string(world_));
  }
  const auto place = std::find(ranks.begin(), ranks.end(), rank);
  if (place == ranks.end()) {
    return InvalidArgument(who + RankList(ranks) + ", which lacks it");
  }
  std::lock_guard<std::mutex> lock(mutex_);
  std::weak_ptr<Group>& known = groups_[id];
  std::shared_ptr<Group> group = known.lock();
  if (group == nullptr) {
    group = std::make_shared<Group>(id, ranks);
    known = group;
  }
  if (group->ranks != ranks) {
    return InvalidArgument(who + RankList(ranks) + ", but another member says it has ranks " +
                           RankList(group->ranks));
  }
  std::vector<bool>::reference joined = group->joined[place - ranks.begin()];
  if (joined) return InvalidArgument(who + RankList(ranks) + ", and is in it already");
  joined = true;
  return group;
}

void Fabric::Leave(Group& group, int rank) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto place = std::find(group.ranks.begin(), group.ranks.end(), rank);
  CHECK(place != group.ranks.end());
  group.joined[place - group.ranks.begin()] = false;
}

std::unique_ptr<Endpoint> Fabric::MakeEndpoint(std::shared_ptr<Group> group, int member) {
  auto endpoint = std::make_unique<MailboxEndpoint>(scheduler_, std::move(group), member);
  if (wrap_ == nullptr) return endpoint;
  return wrap_(std::move(endpoint));
}

}  // namespace tp::sim
