#include "image.h"
#include <sys/uio.h>
#include <unistd.h>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

// The headers of the emulation, as they were when this library was built.
#define EMBED(symbol, file)                                                                    \
  asm(".pushsection .rodata\n.globl " #symbol "\n.hidden " #symbol "\n" #symbol ":\n"          \
      ".incbin \"" file "\"\n.byte 0\n.popsection\n");
EMBED(emulation_header, "emulation.h")
EMBED(emulation_hopper_header, "emulation_hopper.h")

namespace emulation {
namespace {
struct Header {
  char magic[16];
  u32 number;
  u8 specific, virtual_, reserved[2];
  u64 headers;       // hash of the headers it was compiled against: a module of another build of this library must not be loaded
  u64 bytes, hash;
};
constexpr char MAGIC[16] = "torchflash-emu1";

u64 mix(u64 hash, const void* p, size_t bytes) {   // FNV-1a
  for (size_t i = 0; i < bytes; i++) hash = (hash ^ ((const u8*)p)[i]) * 1099511628211ull;
  return hash;
}
constexpr u64 FNV_START = 14695981039346656037ull;

u64 hash_of(Header header, const std::vector<u8>& shared_object) {
  header.hash = 0;
  return mix(mix(FNV_START, &header, sizeof header), shared_object.data(), shared_object.size());
}

u64 hash_of_headers() {
  static const u64 hash = mix(mix(FNV_START, emulation_header, strlen(emulation_header)), emulation_hopper_header, strlen(emulation_hopper_header));
  return hash;
}

// Reads this process's own memory as if it were another's: what is not mapped is an error, not a fault.
bool read_carefully(const void* from, void* to, size_t bytes) {
  iovec local = {to, bytes}, remote = {const_cast<void*>(from), bytes};
  const ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  if (got == -1 && (errno == EPERM || errno == ENOSYS)) { memcpy(to, from, bytes); return true; }   // a sandbox that forbids the call
  return got == ssize_t(bytes);
}
}  // namespace

Architecture Architecture::parse(const std::string& text) {
  Architecture a;
  const size_t digits = text.rfind("sm_", 0) == 0 ? 3 : text.rfind("compute_", 0) == 0 ? 8 : 0;
  if (!digits) return a;
  char* end;
  a.number = u32(strtoul(text.c_str() + digits, &end, 10));
  a.specific = *end == 'a';
  a.virtual_ = digits == 8;
  if (*end && strcmp(end, "a")) a.number = 0;
  return a;
}

bool Architecture::runs_on(u32 device) const {
  if (specific) return device == number;
  return virtual_ ? device >= number : device / 10 == number / 10 && device >= number;
}

std::vector<u8> make_image(const Architecture& architecture, const std::vector<u8>& shared_object) {
  Header h = {};
  memcpy(h.magic, MAGIC, sizeof h.magic);
  h.number = architecture.number;
  h.specific = architecture.specific;
  h.virtual_ = architecture.virtual_;
  h.headers = hash_of_headers();
  h.bytes = shared_object.size();
  h.hash = hash_of(h, shared_object);
  std::vector<u8> image(sizeof h + shared_object.size());
  memcpy(image.data(), &h, sizeof h);
  memcpy(image.data() + sizeof h, shared_object.data(), shared_object.size());
  return image;
}

std::vector<u8> open_image(const void* image, Architecture& architecture) {
  Header h;
  constexpr u64 most = 1ull << 28;
  if (!read_carefully(image, &h, sizeof h) || memcmp(h.magic, MAGIC, sizeof h.magic)) return {};
  if (h.headers != hash_of_headers() || h.bytes == 0 || h.bytes > most) return {};
  std::vector<u8> shared_object(h.bytes);
  if (!read_carefully((const u8*)image + sizeof h, shared_object.data(), h.bytes)) return {};
  if (hash_of(h, shared_object) != h.hash) return {};
  architecture.number = h.number;
  architecture.specific = h.specific;
  architecture.virtual_ = h.virtual_;
  return shared_object;
}

// ---- files
TemporaryFolder::TemporaryFolder() {
  std::error_code ignored;
  std::string pattern = (std::filesystem::temp_directory_path(ignored) / "torchflash-emulation-XXXXXX").string();
  if (ignored) pattern = "/tmp/torchflash-emulation-XXXXXX";
  if (mkdtemp(pattern.data())) folder = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!folder.empty()) std::filesystem::remove_all(folder, ignored);
}

bool write_file(const std::string& path, const void* data, size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write((const char*)data, std::streamsize(bytes));
  return bool(file.flush());
}

std::vector<u8> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::vector<u8>(std::istreambuf_iterator<char>(file), {});
}
}  // namespace emulation
