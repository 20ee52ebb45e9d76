#include "tp/core/contain.h"

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

namespace tp {

Status Contain(const std::function<Status()>& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Unavailable("out of memory; take smaller sizes or fewer ranks, or allow more memory");
  } catch (const std::length_error&) {
    return Unavailable("out of memory: more was asked for than there can be; take smaller sizes");
  } catch (const std::system_error& error) {
    return Unavailable(std::string("the system has no thread left (") + error.what() +
                       "); take fewer ranks, or allow more threads or memory");
  } catch (const std::exception& error) {
    return Internal(std::string("an exception: ") + error.what());
  }
}

}  // namespace tp
