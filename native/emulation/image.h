// The "machine code" of the emulated GPU: a shared object behind a header that says for which architecture it is and how long it is.
#pragma once
#include <string>
#include <vector>
#include "emulation.h"

extern "C" const char emulation_header[], emulation_hopper_header[];   // emulation.h, emulation_hopper.h: what kernels are compiled against

namespace emulation {
struct Architecture {
  u32 number = 0;           // 80 for sm_80
  bool specific = false;    // sm_90a: for this one only
  bool virtual_ = false;    // compute_80: PTX, for this one and all later ones
  /// "sm_90a" or "compute_80"; number is 0 where it is neither.
  static Architecture parse(const std::string& text);
  bool runs_on(u32 device) const;
};
std::vector<u8> make_image(const Architecture& architecture, const std::vector<u8>& shared_object);
/// The shared object in an image; empty where it is none or damaged. Never reads memory that is not there: images come without a length.
std::vector<u8> open_image(const void* image, Architecture& architecture);

/// A folder of its own under the system's temporary one, removed with its files at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  const std::string& path() const { return folder; }

 private:
  std::string folder;
};
bool write_file(const std::string& path, const void* data, size_t bytes);
std::vector<u8> read_file(const std::string& path);
}  // namespace emulation
