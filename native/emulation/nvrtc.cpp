// NVRTC's functions, by g++: a program is compiled into a shared object against emulation.h, which this library carries with it.
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>
#include "image.h"

extern char** environ;

namespace {
using namespace emulation;

#if __GNUC__ >= 12
#define POISON_VARIABLES "-ftrivial-auto-var-init=pattern"   // a variable that is never set holds a huge number, not what happened to be there
#else
#define POISON_VARIABLES "-w"
#endif

enum Result {
  SUCCESS = 0, OUT_OF_MEMORY = 1, PROGRAM_CREATION_FAILURE = 2, INVALID_INPUT = 3,
  INVALID_PROGRAM = 4, INVALID_OPTION = 5, COMPILATION = 6, INTERNAL_ERROR = 11
};
const int architectures[] = {80, 86, 89, 90};

struct Program {
  std::string name, source, log;
  std::vector<std::pair<std::string, std::string>> headers;
  Architecture architecture;
  std::vector<u8> image;
};

std::string value_of(const std::string& option, const char* name) {
  const std::string start = std::string(name) + "=";
  return option.rfind(start, 0) == 0 ? option.substr(start.size()) : "";
}

// What g++ is to be given for an option of NVRTC; false where NVRTC would not know it.
bool translate(const std::string& option, Program& program, std::vector<std::string>& arguments) {
  std::string value;
  if (!(value = value_of(option, "--gpu-architecture")).empty() || !(value = value_of(option, "-arch")).empty()) {
    program.architecture = Architecture::parse(value);
    for (int known : architectures) if (program.architecture.number == u32(known)) return true;
    return false;
  }
  if (option.rfind("-D", 0) == 0 && option.size() > 2) { arguments.push_back(option); return true; }
  if (!(value = value_of(option, "--define-macro")).empty()) { arguments.push_back("-D" + value); return true; }
  if (option.rfind("--std=", 0) == 0 || option.rfind("-std=", 0) == 0) return true;   // C++17 is a part of what is used
  static const std::set<std::string> ignored = {"-lineinfo", "--generate-line-info", "-default-device", "--device-as-default-execution-space",
    "--use_fast_math", "-use_fast_math", "--ptxas-options=-v", "-w", "--disable-warnings"};
  return ignored.count(option) != 0;
}

std::string library_path() {
  Dl_info info;
  return dladdr((void*)&library_path, &info) ? info.dli_fname : "libtorchflash-emulation.so";
}

// The compiler's exit status, what it says in `log`; -1 where it cannot be started.
int run_compiler(const std::vector<std::string>& arguments, const std::string& log_file) {
  std::vector<char*> argv;
  for (auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, log_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) return -1;
  int status = 0;
  while (waitpid(child, &status, 0) == -1) if (errno != EINTR) return 0;   // reaped by the host program: the missing result will tell
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool write_sources(const Program& program, const std::string& folder, const std::string& file) {
  auto write = [&](const std::string& name, const std::string& text) { return write_file(folder + "/" + name, text.data(), text.size()); };
  for (auto& [name, text] : program.headers) if (name.find('/') != std::string::npos || !write(name, text)) return false;
  return write("emulation.h", emulation_header) && write("emulation_hopper.h", emulation_hopper_header) && write(file, program.source);
}

// Of this host thread, else TORCHFLASH_EMULATION_CXX, else g++.
thread_local std::string chosen_compiler;

std::string compiler_name() {
  if (!chosen_compiler.empty()) return chosen_compiler;
  const char* name = getenv("TORCHFLASH_EMULATION_CXX");
  return name && *name ? name : "g++";
}

Result compile(Program& program, std::vector<std::string> macros) {
  TemporaryFolder folder;
  const size_t slash = program.name.rfind('/');
  const std::string file = slash == std::string::npos ? program.name : program.name.substr(slash + 1), output = folder.path() + "/module.so";
  if (folder.path().empty() || !write_sources(program, folder.path(), file)) {
    program.log = "the sources could not be written to " + folder.path();
    return INTERNAL_ERROR;
  }
  std::vector<std::string> arguments = {compiler_name(), "-std=c++20", "-O1", "-fPIC", "-shared", "-w", "-pipe",
    "-fvisibility=hidden", "-fno-gnu-unique", "-fstack-clash-protection", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off", POISON_VARIABLES,
    "-DEMULATION_MODULE", "-I" + folder.path()};
  arguments.insert(arguments.end(), macros.begin(), macros.end());
  const std::vector<std::string> files = {"-x", "c++", folder.path() + "/" + file, "-x", "none", library_path(), "-o", output};
  arguments.insert(arguments.end(), files.begin(), files.end());
  const int status = run_compiler(arguments, folder.path() + "/log.txt");
  const std::vector<u8> text = read_file(folder.path() + "/log.txt"), shared_object = read_file(output);
  program.log.assign(text.begin(), text.end());
  if (status == -1) program.log = arguments[0] + " was not found. The emulated GPU needs it: apt-get install g++";
  if (status != 0 || shared_object.empty()) return COMPILATION;
  program.image = make_image(program.architecture, shared_object);
  return SUCCESS;
}
}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void emulation_set_compiler(const char* name) { chosen_compiler = name; }

EXPORT const char* nvrtcGetErrorString(int result) {
  switch (result) {
    case SUCCESS: return "NVRTC_SUCCESS";
    case OUT_OF_MEMORY: return "NVRTC_ERROR_OUT_OF_MEMORY";
    case PROGRAM_CREATION_FAILURE: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
    case INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
    case INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case COMPILATION: return "NVRTC_ERROR_COMPILATION";
    case INTERNAL_ERROR: return "NVRTC_ERROR_INTERNAL_ERROR";
    default: return "NVRTC_ERROR unknown";
  }
}

EXPORT int nvrtcVersion(int* major, int* minor) {
  if (!major || !minor) return INVALID_INPUT;
  *major = 12;
  *minor = 4;
  return SUCCESS;
}

EXPORT int nvrtcGetNumSupportedArchs(int* count) {
  if (!count) return INVALID_INPUT;
  *count = int(std::size(architectures));
  return SUCCESS;
}

EXPORT int nvrtcGetSupportedArchs(int* list) {
  if (!list) return INVALID_INPUT;
  memcpy(list, architectures, sizeof architectures);
  return SUCCESS;
}

EXPORT int nvrtcCreateProgram(Program** result, const char* source, const char* name, int headers,
                              const char* const* texts, const char* const* names) {
  if (!result || !source || headers < 0 || (headers && (!texts || !names))) return INVALID_INPUT;
  auto* program = new Program;
  program->source = source;
  program->name = name && *name ? name : "default_program";
  for (int i = 0; i < headers; i++) program->headers.emplace_back(names[i], texts[i]);
  *result = program;
  return SUCCESS;
}

EXPORT int nvrtcDestroyProgram(Program** program) {
  if (!program || !*program) return INVALID_PROGRAM;
  delete *program;
  *program = nullptr;
  return SUCCESS;
}

EXPORT int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
  if (!program) return INVALID_PROGRAM;
  program->architecture = Architecture::parse("compute_52");   // NVRTC's own default
  program->image.clear();
  std::vector<std::string> arguments;
  for (int i = 0; i < count; i++) {
    if (translate(options[i], *program, arguments)) continue;
    program->log = std::string("nvrtc: error: invalid value or unrecognized option: ") + options[i];
    return INVALID_OPTION;
  }
  return compile(*program, arguments);
}

// A size, then the bytes; texts end with a zero.
static int size_of(Program* program, size_t bytes, size_t* result) {
  if (!program) return INVALID_PROGRAM;
  if (!result) return INVALID_INPUT;
  *result = bytes;
  return SUCCESS;
}

static int copy_to(Program* program, const void* data, size_t bytes, char* to) {
  if (!program) return INVALID_PROGRAM;
  if (!to) return INVALID_INPUT;
  memcpy(to, data, bytes);
  return SUCCESS;
}

EXPORT int nvrtcGetProgramLogSize(Program* p, size_t* size) { return size_of(p, p ? p->log.size() + 1 : 0, size); }
EXPORT int nvrtcGetProgramLog(Program* p, char* log) { return copy_to(p, p ? p->log.c_str() : nullptr, p ? p->log.size() + 1 : 0, log); }

static size_t code_bytes(Program* p, bool virtual_) { return p && p->architecture.virtual_ == virtual_ ? p->image.size() : 0; }
EXPORT int nvrtcGetCUBINSize(Program* p, size_t* size) { return size_of(p, code_bytes(p, false), size); }
EXPORT int nvrtcGetCUBIN(Program* p, char* image) { return copy_to(p, p ? p->image.data() : nullptr, code_bytes(p, false), image); }
EXPORT int nvrtcGetPTXSize(Program* p, size_t* size) { return size_of(p, code_bytes(p, true), size); }
EXPORT int nvrtcGetPTX(Program* p, char* image) { return copy_to(p, p ? p->image.data() : nullptr, code_bytes(p, true), image); }
