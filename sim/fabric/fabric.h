// Fabric: what connects the ranks of a world: for every group of ranks, a mailbox from each member
// to each other, and a board on which members show each other which collective they are in.
//
// Groups are independent of each other; a group is known by an id that its members agree on, and
// lives as long as one of them holds it. The Scheduler must outlive the Fabric, and the Fabric its
// groups. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "sim/fabric/endpoint.h"
#include "sim/fabric/scheduler.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::sim {

// One message at a time is read, at most kSlots wait. Sender and receiver each write one cache
// line.
struct Mailbox {
  static constexpr uint64_t kSlots = 3;
  struct Message {
    const std::byte* data = nullptr;
    size_t size = 0;
  };

  alignas(64) Signal posted;  // messages so far
  Message messages[kSlots];
  alignas(64) Signal consumed;
};

// What a group keeps for one member.
struct Seat {
  // What the member shows the others of a call.
  struct Card {
    uint64_t hash = 0;           // of all below
    const char* algorithm = "";  // static text
    CollectiveCall call;
  };

  alignas(64) Signal calls;  // shown so far

  // Call n is at n % 2. The others may still look at the one before the latest, because a member
  // goes on when all have come, not when all have looked.
  Card cards[2];

  // Where the member's algorithms keep what they send on. It is the group's, so that it is there
  // for who still reads from it when its member has failed and gone.
  std::unique_ptr<std::byte[]> scratch;
  int64_t scratch_bytes = 0;

  // The member's own memory that it sends from, where it said so: for the same reason.
  std::shared_ptr<const void> memory;
};

struct Group {
  Group(uint64_t id, const std::vector<int>& ranks);

  int size() const { return static_cast<int>(ranks.size()); }
  Mailbox& MailboxOf(int from, int to) { return mailboxes[from * ranks.size() + to]; }

  const uint64_t id;
  const std::vector<int> ranks;    // of the world, in group order
  std::vector<bool> joined;        // by member; guarded by the Fabric
  std::vector<Mailbox> mailboxes;  // by sender, then receiver
  std::vector<Seat> seats;         // by member
};

class Fabric {
 public:
  // Replaces the endpoint of one member; for tests that plant faults.
  using WrapEndpoint = std::function<std::unique_ptr<Endpoint>(std::unique_ptr<Endpoint>)>;

  Fabric(Scheduler& scheduler, int world, WrapEndpoint wrap = nullptr);

  Scheduler& scheduler() { return scheduler_; }
  int world() const { return world_; }

  // Makes `rank` a member of group `id`. INVALID_ARGUMENT: `ranks` is empty, repeats a rank, leaves
  // the world, lacks `rank`, or differs from what another member said; or `rank` is in it already.
  StatusOr<std::shared_ptr<Group>> Join(uint64_t id, const std::vector<int>& ranks, int rank);
  void Leave(Group& group, int rank);

  // The endpoint of member `member`; one at a time.
  std::unique_ptr<Endpoint> MakeEndpoint(std::shared_ptr<Group> group, int member);

 private:
  Scheduler& scheduler_;
  const int world_;
  const WrapEndpoint wrap_;
  std::mutex mutex_;
  std::map<uint64_t, std::weak_ptr<Group>> groups_;  // guarded by mutex_
};

}  // namespace tp::sim
