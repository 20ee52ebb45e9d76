#include "sim/timed/timed_collective.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "sim/clock/event_queue.h"
#include "sim/flow/flow_network.h"
#include "sim/topology/topology.h"

namespace tp::sim {
namespace {

// From one member to another: messages in order, one of them on its way over the links.
struct Channel {
  int from = 0;
  int to = 0;
  Route route;
  // Bytes of the messages that were posted since the last time that all had been read.
  std::vector<int64_t> posted;
  size_t started = 0;  // on their way, or there
  size_t left = 0;     // of these, those that occupy no link any more
  size_t arrived = 0;
  size_t read = 0;
};

class Run {
 public:
  Run(const std::vector<std::vector<Touch>>& touches, const Machine& machine,
      std::span<const int> devices, std::span<const Picos> begins)
      : touches_(touches),
        topology_(machine, network_),
        devices_(devices),
        members_(touches.size()),
        channel_of_(touches.size() * touches.size(), -1) {
    CHECK_EQ(touches.size(), devices.size());
    for (size_t m = 0; m < members_.size(); ++m) {
      const Picos begin = begins.empty() ? 0 : begins[m];
      arrivals_.Push({begin, static_cast<int>(m), -1, kBegin});
    }
  }

  TimedCollective Do() {
    while (true) {
      const Picos flow_end = network_.NextEnd();
      const Picos arrival = arrivals_.empty() ? kNever : arrivals_.top().at;
      now_ = std::min(flow_end, arrival);
      if (now_ == kNever) break;
      ready_.clear();
      while (const auto ended = network_.PopEnd(now_)) Left(channels_[ended->number]);
      while (!arrivals_.empty() && arrivals_.top().at == now_) {
        const Event event = arrivals_.top();
        arrivals_.Pop();
        if (event.what == kBegin) {
          ready_.push_back(event.rank);
        } else {
          Arrived(channels_[event.what]);
        }
      }
      std::sort(ready_.begin(), ready_.end());
      for (int member : ready_) Advance(member);
    }
    for (const Member& member : members_) {
      CHECK_NE(member.end, kNever) << "a member waits for ever";
      result_.ends.push_back(member.end);
    }
    return std::move(result_);
  }

 private:
  static constexpr int64_t kBegin = -1;

  struct Member {
    size_t next = 0;     // touch
    int waits_for = -1;  // channel
    int64_t unread = 0;  // of what it posted
    Picos end = kNever;
  };

  int ChannelOf(int from, int to) {
    int& id = channel_of_[static_cast<size_t>(from) * members_.size() + to];
    if (id < 0) {
      id = static_cast<int>(channels_.size());
      Channel& channel = channels_.emplace_back();
      channel.from = from;
      channel.to = to;
      channel.route = topology_.RouteOf(devices_[from], devices_[to]);
    }
    return id;
  }

  void StartNext(int id) {
    Channel& channel = channels_[id];
    const auto bytes = static_cast<double>(channel.posted[channel.started++]);
    network_.Start(now_, {.amount = bytes, .rank = channel.from, .number = id},
                   channel.route.Uses());
  }

  // The last byte of the channel's message is on its way: the next one may begin.
  void Left(Channel& channel) {
    const auto id = static_cast<int>(&channel - channels_.data());
    ++channel.left;
    arrivals_.Push({now_ + channel.route.latency, channel.to, channel.from, id});
    if (channel.started < channel.posted.size()) StartNext(id);
  }

  void Arrived(Channel& channel) {
    ++channel.arrived;
    Member& receiver = members_[channel.to];
    if (receiver.waits_for != &channel - channels_.data()) return;
    receiver.waits_for = -1;
    ready_.push_back(channel.to);
  }

  void Advance(int index) {
    Member& member = members_[index];
    for (const std::vector<Touch>& list = touches_[index]; member.next < list.size();
         ++member.next) {
      const Touch& touch = list[member.next];
      if (touch.kind == Touch::Kind::kSend) {
        const int id = ChannelOf(index, touch.peer);
        Channel& channel = channels_[id];
        channel.posted.push_back(touch.bytes);
        ++member.unread;
        ++result_.messages;
        result_.bytes += touch.bytes;
        if (channel.started == channel.left) StartNext(id);
      } else if (touch.peer >= 0) {
        const int id = ChannelOf(touch.peer, index);
        Channel& channel = channels_[id];
        if (channel.arrived == channel.read) {
          member.waits_for = id;
          return;
        }
        CHECK_EQ(channel.posted[channel.read], touch.bytes) << "a receive of another size";
        if (++channel.read == channel.posted.size()) {
          channel.posted.clear();
          channel.started = channel.left = channel.arrived = channel.read = 0;
        }
        Member& sender = members_[channel.from];
        if (--sender.unread == 0) End(sender, channel.from);
      }
    }
    End(member, index);
  }

  void End(Member& member, int index) {
    if (member.next == touches_[index].size() && member.unread == 0) member.end = now_;
  }

  const std::vector<std::vector<Touch>>& touches_;
  FlowNetwork network_;
  Topology topology_;
  const std::span<const int> devices_;
  std::vector<Member> members_;
  std::vector<int> channel_of_;  // by sender, then receiver; -1: not yet
  std::vector<Channel> channels_;
  EventQueue arrivals_;
  std::vector<int> ready_;
  Picos now_ = 0;
  TimedCollective result_;
};

}  // namespace

Picos TimedCollective::last() const { return *std::max_element(ends.begin(), ends.end()); }

TimedCollective TimeMessages(const std::vector<std::vector<Touch>>& touches, const Machine& machine,
                             std::span<const int> devices, std::span<const Picos> begins) {
  return Run(touches, machine, devices, begins).Do();
}

}  // namespace tp::sim
