// Files: what is written can be read back, known bytes are read right, and what is broken is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "runtime/dtype.h"
#include "runtime/error.h"
#include "runtime/files/data.h"
#include "runtime/files/npy.h"
#include "runtime/files/safetensors.h"
#include "runtime/random.h"
#include "tests/runtime/toy.h"

namespace shardc::runtime::files {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) /
        ("shardc-files-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  static void put(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }
  static std::string slurp(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::string refusal(const std::function<void()>& read) {
    try {
      read();
    } catch (const RunError& e) {
      return e.what();
    }
    return "(it was accepted)";
  }

  fs::path folder_;
};

HostTensor sample(int dtype, std::vector<std::int64_t> shape) {
  HostTensor tensor = zeros(dtype, std::move(shape));
  for (std::int64_t i = 0; i < elements_of(tensor); ++i)
    store(tensor.bytes.data(), dtype, i, dtype == SHARDC_BOOL ? i % 3 == 0 : static_cast<double>(i * 5 - 7));
  return tensor;
}

std::vector<double> values(const HostTensor& tensor) {
  std::vector<double> result;
  for (std::int64_t i = 0; i < elements_of(tensor); ++i)
    result.push_back(load(tensor.bytes.data(), tensor.dtype, i));
  return result;
}

void expect_same(const HostTensor& a, const HostTensor& b) {
  EXPECT_EQ(describe(a), describe(b));
  EXPECT_EQ(a.bytes, b.bytes);
}

const std::vector<std::vector<std::int64_t>> kShapes = {{}, {0}, {1}, {5}, {3, 4}, {2, 0, 3}, {2, 1, 3, 2}};

TEST_F(Files, NpyRoundTrip) {
  for (int dtype = SHARDC_F32; dtype <= SHARDC_BOOL; ++dtype)
    for (const auto& shape : kShapes) {
      const HostTensor tensor = sample(dtype, shape);
      write_npy(path("a.npy"), tensor);
      expect_same(read_npy(path("a.npy")), tensor);
      EXPECT_EQ((slurp(path("a.npy")).size() - tensor.bytes.size()) % 64, 0u);
    }
}

// As NumPy writes it: np.save of np.array([[1, 2, 3], [4, 5, 6]], dtype=...).
std::vector<char> npy(const std::string& dict, const std::string& data, char version = 1) {
  std::string bytes("\x93NUMPY", 6);
  bytes += version;
  bytes += '\0';
  if (version == 1)
    put_le<std::uint16_t>(bytes, static_cast<std::uint16_t>(dict.size()));
  else
    put_le<std::uint32_t>(bytes, static_cast<std::uint32_t>(dict.size()));
  bytes += dict + data;
  return {bytes.begin(), bytes.end()};
}

TEST_F(Files, NpyReadsWhatNumPyWrites) {
  const std::string ints("\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5\0\0\0\6\0\0\0", 24);
  const auto c =
      parse_npy(npy("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }   \n", ints), "a");
  EXPECT_EQ(describe(c), "i32[2, 3]");
  EXPECT_THAT(values(c), ElementsAre(1, 2, 3, 4, 5, 6));
  const auto fortran =
      parse_npy(npy("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n", ints, 2), "a");
  EXPECT_THAT(values(fortran), ElementsAre(1, 3, 5, 2, 4, 6));
  const auto bytes =
      parse_npy(npy("{\"shape\": (3,), 'fortran_order': False, 'descr': '|u1'}", "\1\2\xff"), "a");
  EXPECT_EQ(describe(bytes), "i32[3]");
  EXPECT_THAT(values(bytes), ElementsAre(1, 2, 255));
  const double pi = 3.14159265358979;
  const auto f8 = parse_npy(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
                                std::string(reinterpret_cast<const char*>(&pi), 8)),
                            "a");
  EXPECT_EQ(describe(f8), "f32[]");
  EXPECT_EQ(values(f8)[0], static_cast<float>(pi));
}

TEST_F(Files, NpyRefusesWhatIsBroken) {
  const auto refuse = [](const std::vector<char>& bytes) { return refusal([&] { parse_npy(bytes, "a"); }); };
  const std::string four(4, '\0');
  EXPECT_EQ(refuse({}), "a: is no .npy array");
  EXPECT_THAT(refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", four)),
              HasSubstr("truncated"));
  EXPECT_THAT(refuse(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", four)),
              HasSubstr("element type '>f4' is not supported"));
  EXPECT_THAT(
      refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", four)),
      HasSubstr("too large"));
  EXPECT_THAT(
      refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,), }", four)),
      HasSubstr("too large"));
  EXPECT_THAT(refuse(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", four)),
              HasSubstr("no numbers"));
  EXPECT_THAT(refuse(npy("{'descr': '<f4'}", four)), HasSubstr("incomplete"));
  EXPECT_THAT(refuse(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", four)),
              HasSubstr("a string"));
  EXPECT_THAT(refuse(npy("", four)), HasSubstr("lacks a '{'"));
  EXPECT_THAT(refuse(npy("{", four)), HasSubstr("no .npy array"));
}

// Cuts a file at every length and flips every byte: it is read or refused, and nothing else happens.
void torment(const std::string& path, const std::string& whole, const std::function<void()>& read) {
  int refused = 0;
  const auto attempt = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      read();
    } catch (const RunError&) {
      ++refused;
    }
  };
  for (std::size_t n = 0; n < whole.size(); ++n) attempt(whole.substr(0, n));
  EXPECT_EQ(refused, static_cast<int>(whole.size())) << "a truncated file was accepted";
  for (std::size_t n = 0; n < whole.size(); ++n)
    for (const int flip : {0x01, 0xff}) {
      std::string bytes = whole;
      bytes[n] = static_cast<char>(bytes[n] ^ flip);
      attempt(bytes);
    }
}

TEST_F(Files, NpzRoundTrip) {
  NamedTensors tensors;
  for (int dtype = SHARDC_F32; dtype <= SHARDC_BOOL; ++dtype)
    tensors.emplace_back("layer.w" + std::to_string(dtype), sample(dtype, {2, 3}));
  tensors.emplace_back("scalar", sample(SHARDC_F32, {}));
  write_npz(path("a.npz"), tensors);
  NpzReader reader(path("a.npz"));
  EXPECT_EQ(reader.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) expect_same(reader.read(name), tensor);
  EXPECT_FALSE(reader.has("nothing"));
  EXPECT_THAT(refusal([&] { reader.read("nothing"); }), HasSubstr("has no array 'nothing'"));
  EXPECT_FALSE(fs::exists(path("a.npz.part")));
}

TEST_F(Files, NpzSurvivesTorment) {
  write_npz(path("a.npz"), {{"a", sample(SHARDC_F32, {3})}, {"b", sample(SHARDC_BOOL, {2})}});
  torment(path("broken.npz"), slurp(path("a.npz")), [&] {
    NpzReader reader(path("broken.npz"));
    for (const std::string& name : reader.names()) reader.read(name);
  });
}

// A zip with one deflated member, and sizes in zip64 fields as NumPy's savez_compressed may write them.
std::string deflated_npz(const std::string& content, std::uint64_t claimed_size) {
  std::string packed(compressBound(content.size()), '\0');
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  z.avail_in = static_cast<uInt>(content.size());
  z.next_out = reinterpret_cast<Bytef*>(packed.data());
  z.avail_out = static_cast<uInt>(packed.size());
  deflate(&z, Z_FINISH);
  packed.resize(z.total_out);
  deflateEnd(&z);
  const auto crc = static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));

  std::string zip;
  const auto common = [&](std::uint16_t extra) {
    for (const std::uint16_t v : {45, 0, 8, 0, 33}) put_le<std::uint16_t>(zip, v);
    put_le<std::uint32_t>(zip, crc);
    put_le<std::uint32_t>(zip, 0xffffffff);
    put_le<std::uint32_t>(zip, 0xffffffff);
    put_le<std::uint16_t>(zip, 5);
    put_le<std::uint16_t>(zip, extra);
  };
  const auto extra = [&] {
    put_le<std::uint16_t>(zip, 1);
    put_le<std::uint16_t>(zip, 16);
    put_le<std::uint64_t>(zip, claimed_size);
    put_le<std::uint64_t>(zip, packed.size());
  };
  put_le<std::uint32_t>(zip, 0x04034b50);
  common(20);
  zip += "a.npy";
  extra();
  zip += packed;
  const std::size_t directory = zip.size();
  put_le<std::uint32_t>(zip, 0x02014b50);
  put_le<std::uint16_t>(zip, 45);
  common(20);
  for (const std::uint16_t v : {0, 0, 0}) put_le<std::uint16_t>(zip, v);
  put_le<std::uint32_t>(zip, 0);
  put_le<std::uint32_t>(zip, 0);
  zip += "a.npy";
  extra();
  const std::size_t end = zip.size();
  put_le<std::uint32_t>(zip, 0x06054b50);
  put_le<std::uint32_t>(zip, 0);
  put_le<std::uint16_t>(zip, 1);
  put_le<std::uint16_t>(zip, 1);
  put_le<std::uint32_t>(zip, static_cast<std::uint32_t>(end - directory));
  put_le<std::uint32_t>(zip, static_cast<std::uint32_t>(directory));
  put_le<std::uint16_t>(zip, 9);
  return zip + "a comment";
}

TEST_F(Files, NpzReadsDeflatedMembers) {
  const HostTensor tensor = sample(SHARDC_I64, {1000, 33});
  const std::string content = npy_head(tensor) + std::string(tensor.bytes.begin(), tensor.bytes.end());
  put(path("a.npz"), deflated_npz(content, content.size()));
  expect_same(NpzReader(path("a.npz")).read("a"), tensor);
  for (const std::uint64_t lie : {std::uint64_t{0}, std::uint64_t{10}, content.size() - 1, content.size() + 1,
                                  std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    put(path("lie.npz"), deflated_npz(content, lie));
    EXPECT_THAT(refusal([&] { NpzReader(path("lie.npz")).read("a"); }), HasSubstr("is damaged")) << lie;
  }
  const HostTensor small = sample(SHARDC_F32, {3});
  const std::string few = npy_head(small) + std::string(small.bytes.begin(), small.bytes.end());
  torment(path("broken.npz"), deflated_npz(few, few.size()),
          [&] { NpzReader(path("broken.npz")).read("a"); });
}

TEST_F(Files, SafetensorsRoundTrip) {
  std::vector<TensorInfo> infos;
  std::vector<HostTensor> tensors;
  for (int dtype = SHARDC_F32; dtype <= SHARDC_BOOL; ++dtype)
    for (const auto& shape : kShapes) {
      tensors.push_back(sample(dtype, shape));
      infos.push_back({"t" + std::to_string(tensors.size()), dtype, shape});
    }
  SafetensorsWriter writer(path("a.safetensors"), infos, {{"step", "12"}});
  for (const HostTensor& tensor : tensors) writer.write(tensor);
  EXPECT_FALSE(fs::exists(path("a.safetensors"))) << "not before it is complete";
  writer.commit();
  SafetensorsReader reader(path("a.safetensors"));
  EXPECT_EQ(reader.metadata().at("step"), "12");
  EXPECT_EQ(reader.names().size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) expect_same(reader.read(infos[i].name), tensors[i]);
}

std::string safetensors(const std::string& header, const std::string& data) {
  std::string bytes;
  put_le<std::uint64_t>(bytes, header.size());
  return bytes + header + data;
}

TEST_F(Files, SafetensorsRefusesWhatIsBroken) {
  const auto refuse = [&](const std::string& bytes) {
    put(path("b"), bytes);
    return refusal([&] {
      SafetensorsReader reader(path("b"));
      for (const std::string& name : reader.names()) reader.read(name);
    });
  };
  const std::string data(8, '\1');
  EXPECT_EQ(refuse(safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data)),
            "(it was accepted)");
  EXPECT_THAT(refuse(""), HasSubstr("no safetensors file"));
  EXPECT_THAT(refuse(std::string(8, '\xff')), HasSubstr("no safetensors file"));
  EXPECT_THAT(refuse(safetensors("[]x", data)), HasSubstr("no safetensors header"));
  EXPECT_THAT(refuse(safetensors("[1]", data)), HasSubstr("no safetensors header"));
  EXPECT_THAT(refuse(safetensors(std::string(1000000, '['), data)), HasSubstr("no safetensors header"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,12]}})", data)),
              HasSubstr("tensor 'a' lies outside the file"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", data)),
              HasSubstr("outside"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", data)),
              HasSubstr("offsets"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", data)),
              HasSubstr("not what its shape needs"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", data)),
              HasSubstr("shape"));
  EXPECT_THAT(refuse(safetensors(
                  R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", data)),
              HasSubstr("shape"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", data)),
              HasSubstr("type F64, which is not supported"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,8]}})", data)),
              HasSubstr("unknown type Q9"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},)"
                                 R"("b":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})",
                                 data)),
              HasSubstr("overlap"));
  EXPECT_THAT(refuse(safetensors(R"({"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},)"
                                 R"("a":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}})",
                                 data)),
              HasSubstr("names 'a' twice"));
}

TEST_F(Files, SafetensorsSurvivesTorment) {
  SafetensorsWriter writer(path("a"), {{"w", SHARDC_F32, {3}}, {"b", SHARDC_BF16, {2}}}, {{"step", "1"}});
  writer.write(sample(SHARDC_F32, {3}));
  writer.write(sample(SHARDC_BF16, {2}));
  writer.commit();
  torment(path("broken"), slurp(path("a")), [&] {
    SafetensorsReader reader(path("broken"));
    for (const std::string& name : reader.names()) reader.read(name);
  });
}

TEST_F(Files, WritingKeepsTheOldFileUntilTheNewOneIsComplete) {
  put(path("a"), "old");
  {
    OutputFile file(path("a"));
    file.write("new");
    EXPECT_EQ(slurp(path("a")), "old");
  }
  EXPECT_EQ(slurp(path("a")), "old");
  EXPECT_FALSE(fs::exists(path("a.part")));
  write_file(path("a"), "new");
  EXPECT_EQ(slurp(path("a")), "new");
  fs::create_symlink("a", path("link"));
  write_file(path("link"), "newer");
  EXPECT_EQ(slurp(path("a")), "newer");
  EXPECT_TRUE(fs::is_symlink(path("link")));
  write_file("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THAT(refusal([&] { write_file(path("no/such/folder"), "x"); }), HasSubstr("cannot be written"));
  EXPECT_THAT(refusal([&] { write_file(folder_.string(), "x"); }), HasSubstr("is a directory"));
  EXPECT_THAT(refusal([&] { InputFile file(path("missing")); }), HasSubstr("cannot be read: No such file"));
  EXPECT_THAT(refusal([&] { InputFile file(folder_.string()); }), HasSubstr("is a directory"));
}

// --- data
// ----------------------------------------------------------------------------------------------------

TEST_F(Files, ConvertKeepsValuesOrSaysNo) {
  EXPECT_THAT(values(convert(sample(SHARDC_F32, {3}), SHARDC_BF16, "a")), ElementsAre(-7, -2, 3));
  EXPECT_THAT(values(convert(sample(SHARDC_I64, {3}), SHARDC_I32, "a")), ElementsAre(-7, -2, 3));
  HostTensor wide = zeros(SHARDC_I64, {2});
  reinterpret_cast<std::int64_t*>(wide.bytes.data())[1] = std::int64_t{1} << 31;
  EXPECT_EQ(refusal([&] { convert(wide, SHARDC_I32, "a"); }),
            "a holds 2147483648 at [1], which i32 does not");
  EXPECT_THAT(refusal([&] { convert(wide, SHARDC_F32, "a"); }), HasSubstr("f32 is needed"));
}

// A language model's inputs: tokens, targets: i32[B=2, S=4].
struct LanguageModel {
  shardc_dim dims[2] = {{2, 0, nullptr}, {4, 0, nullptr}};
  shardc_arg args[2] = {{{"tokens", SHARDC_I32, 2, dims}, SHARDC_INPUT, 0, 0, 0, 256},
                        {{"targets", SHARDC_I32, 2, dims}, SHARDC_INPUT, 0, 0, 0, 256}};
  shardc_program program{};
  LanguageModel() {
    program.abi = SHARDC_ABI;
    program.model = "lm";
    program.args = 2;
    program.arg = args;
  }
};

TEST_F(Files, ByteStreamsGiveWindows) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += static_cast<char>(i);
  put(path("text"), text);
  const LanguageModel model;
  const auto source = open_data(model.program, path("text"), 3);
  for (std::int64_t step = 0; step < 20; ++step) {
    const auto inputs = source->inputs(step);
    ASSERT_EQ(inputs.size(), 2u);
    const auto tokens = values(inputs[0].second), targets = values(inputs[1].second);
    for (std::size_t row = 0; row < 2; ++row) {
      const auto counter = static_cast<std::uint64_t>(step) * 2 + row;
      EXPECT_EQ(tokens[row * 4], static_cast<double>(random_bits(random_key(3, "data"), counter) % 196));
      for (std::size_t s = 0; s < 4; ++s) {
        EXPECT_EQ(targets[row * 4 + s], tokens[row * 4 + s] + 1);
        EXPECT_EQ(tokens[row * 4 + s], tokens[row * 4] + static_cast<double>(s));
      }
    }
  }
  expect_same(source->inputs(5)[0].second, open_data(model.program, path("text"), 3)->inputs(5)[0].second);
  EXPECT_NE(source->inputs(5)[0].second.bytes,
            open_data(model.program, path("text"), 4)->inputs(5)[0].second.bytes);
}

TEST_F(Files, ByteStreamsNeedOneWindow) {
  const LanguageModel model;
  put(path("five"), "abcde");
  EXPECT_THAT(values(open_data(model.program, path("five"), 0)->inputs(9)[1].second),
              ElementsAre('b', 'c', 'd', 'e', 'b', 'c', 'd', 'e'));
  put(path("four"), "abcd");
  EXPECT_THAT(refusal([&] { open_data(model.program, path("four"), 0); }),
              HasSubstr("has 4 bytes, but one window needs 5"));
  const testing::Toy toy(1, 1);
  EXPECT_THAT(refusal([&] { open_data(toy.program(), path("five"), 0); }),
              HasSubstr("the program also has 'x'"));
}

TEST_F(Files, NpzFeedsByNameAndStep) {
  const LanguageModel model;
  HostTensor stepped = zeros(SHARDC_I64, {3, 2, 4});  // NumPy's default integers
  for (std::int64_t i = 0; i < 24; ++i) store(stepped.bytes.data(), SHARDC_I64, i, static_cast<double>(i));
  write_npz(path("a.npz"), {{"tokens", stepped}, {"targets", sample(SHARDC_I32, {2, 4})}});
  const auto source = open_data(model.program, path("a.npz"), 0);
  EXPECT_THAT(values(source->inputs(1)[0].second), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  EXPECT_EQ(describe(source->inputs(1)[0].second), "i32[2, 4]");
  expect_same(source->inputs(4)[0].second, source->inputs(1)[0].second);  // starts over
  expect_same(source->inputs(2)[1].second, sample(SHARDC_I32, {2, 4}));
  write_npz(path("b.npz"), {{"tokens", sample(SHARDC_I32, {2, 4})}});
  EXPECT_THAT(refusal([&] { open_data(model.program, path("b.npz"), 0); }),
              HasSubstr("no array for the input 'targets'"));
  write_npz(path("c.npz"), {{"tokens", sample(SHARDC_I32, {4, 2})}});
  EXPECT_THAT(refusal([&] { open_data(model.program, path("c.npz"), 0); }),
              HasSubstr("array 'tokens' is i32[4, 2], but the input is i32[2, 4]"));
}

TEST_F(Files, MadeUpInputsRespectBounds) {
  const testing::Toy toy(1, 1);
  const auto source = open_data(toy.program(), "", 8);
  bool differs = false;
  for (std::int64_t step = 0; step < 10; ++step) {
    const auto inputs = source->inputs(step);
    ASSERT_EQ(inputs.size(), 2u);
    for (const double v : values(inputs[1].second)) EXPECT_TRUE(v >= 0 && v < 10);
    for (const double v : values(inputs[0].second)) EXPECT_TRUE(std::isfinite(v));
    differs = differs || inputs[0].second.bytes != source->inputs(0)[0].second.bytes;
  }
  EXPECT_TRUE(differs);
}

}  // namespace
}  // namespace shardc::runtime::files
