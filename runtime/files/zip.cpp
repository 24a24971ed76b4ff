#include "runtime/files/zip.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

namespace shardc::runtime::files {
namespace {

// Record signatures and fixed sizes (PKWARE APPNOTE 6.3, sections 4.3.7 to 4.3.16).
constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr std::uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56,
                        kLocatorBytes = 20;
constexpr std::uint32_t kIn64 = 0xffffffff;  // the value is in the zip64 record instead
constexpr std::uint16_t kStored = 0, kDeflated = 8;

// Deflate cannot do better than 1032 : 1, so that a larger claim is a lie.
constexpr std::uint64_t kBestRatio = 1032;

std::uint32_t checksum(std::uint32_t crc, const char* data, std::uint64_t count) {
  while (count > 0) {
    const auto part = static_cast<uInt>(std::min<std::uint64_t>(count, 1u << 30));
    crc = static_cast<std::uint32_t>(crc32(crc, reinterpret_cast<const Bytef*>(data), part));
    data += part;
    count -= part;
  }
  return crc;
}

// Empty if the data is damaged or does not have `size` bytes. Input and output go in parts: zlib counts in
// unsigned int, and memory is only taken for bytes that came out.
std::vector<char> inflate_all(std::vector<char>& packed, std::uint64_t size, bool* good) {
  constexpr std::uint64_t part = 1u << 24;
  std::vector<char> result;
  z_stream z{};
  *good = false;
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return {};
  const std::unique_ptr<z_stream, int (*)(z_stream*)> cleanup(&z, inflateEnd);
  std::uint64_t in = 0;
  int status = Z_OK;
  while (status == Z_OK) {
    const std::uint64_t out = result.size();
    result.resize(std::min(out + part, size + 1));  // one more than there should be, to notice a lie
    if (result.size() == out) return {};
    z.next_in = reinterpret_cast<Bytef*>(packed.data() + in);
    z.avail_in = static_cast<uInt>(std::min<std::uint64_t>(packed.size() - in, part));
    z.next_out = reinterpret_cast<Bytef*>(result.data() + out);
    z.avail_out = static_cast<uInt>(result.size() - out);
    const std::uint64_t offered = z.avail_in;
    status = inflate(&z, Z_NO_FLUSH);
    in += offered - z.avail_in;
    result.resize(result.size() - z.avail_out);
  }
  *good = status == Z_STREAM_END && result.size() == size;
  return result;
}

}  // namespace

ZipReader::ZipReader(const std::string& path) : file_(path) { read_directory(); }

void ZipReader::read_directory() {
  // The end record is the last thing in the file, but for a comment of up to 65535 bytes.
  const std::uint64_t tail_size = std::min<std::uint64_t>(file_.size(), kEndBytes + 65535 + kLocatorBytes);
  const std::vector<char> tail = file_.read(file_.size() - tail_size, tail_size);
  std::uint64_t at = tail_size;
  for (std::uint64_t p = tail_size; p-- > 0;)
    if (p + kEndBytes <= tail_size && get_le<std::uint32_t>(&tail[p]) == kEnd &&
        p + kEndBytes + get_le<std::uint16_t>(&tail[p + 20]) == tail_size) {
      at = p;
      break;
    }
  if (at == tail_size) file_.broken("is not a .npz file (no zip directory)");
  std::uint64_t entries = get_le<std::uint16_t>(&tail[at + 10]);
  std::uint64_t size = get_le<std::uint32_t>(&tail[at + 12]);
  std::uint64_t offset = get_le<std::uint32_t>(&tail[at + 16]);
  if (at >= kLocatorBytes && get_le<std::uint32_t>(&tail[at - kLocatorBytes]) == kLocator64) {
    const std::uint64_t end64 = get_le<std::uint64_t>(&tail[at - kLocatorBytes + 8]);
    const std::vector<char> end = file_.read(end64, kEnd64Bytes);
    if (get_le<std::uint32_t>(end.data()) != kEnd64) file_.broken("has a damaged zip directory");
    entries = get_le<std::uint64_t>(&end[32]);
    size = get_le<std::uint64_t>(&end[40]);
    offset = get_le<std::uint64_t>(&end[48]);
  }
  const std::vector<char> directory = file_.read(offset, size);
  if (entries > size / kCentralBytes) file_.broken("has a damaged zip directory");
  std::uint64_t position = 0;
  for (std::uint64_t i = 0; i < entries; ++i) read_entry(directory, position);
}

void ZipReader::read_entry(const std::vector<char>& directory, std::uint64_t& at) {
  const auto need = [&](std::uint64_t count) {
    if (count > directory.size() - at) file_.broken("has a damaged zip directory");
  };
  need(kCentralBytes);
  const char* entry = directory.data() + at;
  if (get_le<std::uint32_t>(entry) != kCentral) file_.broken("has a damaged zip directory");
  const std::uint64_t name = get_le<std::uint16_t>(entry + 28), extra = get_le<std::uint16_t>(entry + 30),
                      comment = get_le<std::uint16_t>(entry + 32);
  need(kCentralBytes + name + extra + comment);
  Member member;
  member.name.assign(entry + kCentralBytes, name);
  if (get_le<std::uint16_t>(entry + 8) & 1) file_.broken("member '" + member.name + "' is encrypted");
  member.method = get_le<std::uint16_t>(entry + 10);
  member.crc = get_le<std::uint32_t>(entry + 16);
  member.packed = get_le<std::uint32_t>(entry + 20);
  member.size = get_le<std::uint32_t>(entry + 24);
  member.header = get_le<std::uint32_t>(entry + 42);
  // Extra fields: (id, length, data)*; id 1 holds, in this order, those values that did not fit.
  const char* field = entry + kCentralBytes + name;
  const char* end = field + extra;
  while (end - field >= 4) {
    const std::uint16_t id = get_le<std::uint16_t>(field), length = get_le<std::uint16_t>(field + 2);
    field += 4;
    if (length > end - field) break;
    const char* value = field;
    field += length;
    for (std::uint64_t* wide : {&member.size, &member.packed, &member.header})
      if (id == 1 && *wide == kIn64 && field - value >= 8) {
        *wide = get_le<std::uint64_t>(value);
        value += 8;
      }
  }
  at += kCentralBytes + name + extra + comment;
  members_.push_back(std::move(member));
}

std::vector<char> ZipReader::read(const Member& member) {
  const std::vector<char> local = file_.read(member.header, kLocalBytes);
  if (get_le<std::uint32_t>(local.data()) != kLocal)
    file_.broken("member '" + member.name + "' is not where the zip directory says");
  const std::uint64_t data =
      member.header + kLocalBytes + get_le<std::uint16_t>(&local[26]) + get_le<std::uint16_t>(&local[28]);
  std::vector<char> bytes = file_.read(data, member.packed);
  if (member.method == kDeflated) {
    bool good = member.size / kBestRatio <= member.packed;
    if (good) bytes = inflate_all(bytes, member.size, &good);
    if (!good) file_.broken("member '" + member.name + "' is damaged");
  } else if (member.method != kStored) {
    file_.broken("member '" + member.name + "' is compressed by method " + std::to_string(member.method) +
                 ", only stored and deflated ones can be read");
  }
  if (bytes.size() != member.size || checksum(0, bytes.data(), bytes.size()) != member.crc)
    file_.broken("member '" + member.name + "' is damaged");
  return bytes;
}

namespace {

// Fields that local and central headers share. Times are fixed (1980-01-01), so that equal contents give
// equal files.
void put_common(std::string& record, const ZipReader::Member& m, bool wide, std::uint16_t extra) {
  put_le<std::uint16_t>(record, wide ? 45 : 20);  // version needed
  put_le<std::uint16_t>(record, 1u << 11);        // names are UTF-8
  put_le<std::uint16_t>(record, kStored);
  put_le<std::uint16_t>(record, 0);
  put_le<std::uint16_t>(record, 33);
  put_le<std::uint32_t>(record, m.crc);
  put_le<std::uint32_t>(record, wide ? kIn64 : static_cast<std::uint32_t>(m.packed));
  put_le<std::uint32_t>(record, wide ? kIn64 : static_cast<std::uint32_t>(m.size));
  put_le<std::uint16_t>(record, static_cast<std::uint16_t>(m.name.size()));
  put_le<std::uint16_t>(record, extra);
}

void put_wide(std::string& record, const ZipReader::Member& m, bool offset) {
  put_le<std::uint16_t>(record, 1);
  put_le<std::uint16_t>(record, offset ? 24 : 16);
  put_le<std::uint64_t>(record, m.size);
  put_le<std::uint64_t>(record, m.packed);
  if (offset) put_le<std::uint64_t>(record, m.header);
}

}  // namespace

void ZipWriter::add(const std::string& name, const std::string& head, const std::vector<char>& body) {
  ZipReader::Member m;
  m.name = name;
  m.header = file_.position();
  m.size = m.packed = head.size() + body.size();
  m.crc = checksum(checksum(0, head.data(), head.size()), body.data(), body.size());
  const bool wide = m.size >= kIn64;
  std::string record;
  put_le<std::uint32_t>(record, kLocal);
  put_common(record, m, wide, wide ? 20 : 0);
  record += name;
  if (wide) put_wide(record, m, false);
  file_.write(record);
  file_.write(head);
  file_.write(body.data(), body.size());
  members_.push_back(std::move(m));
}

void ZipWriter::commit() {
  const std::uint64_t start = file_.position();
  for (const ZipReader::Member& m : members_) {
    const bool wide = m.size >= kIn64 || m.header >= kIn64;
    std::string record;
    put_le<std::uint32_t>(record, kCentral);
    put_le<std::uint16_t>(record, 45);  // made by
    put_common(record, m, wide, wide ? 28 : 0);
    put_le<std::uint16_t>(record, 0);  // comment
    put_le<std::uint16_t>(record, 0);  // disk
    put_le<std::uint16_t>(record, 0);  // attributes
    put_le<std::uint32_t>(record, 0);
    put_le<std::uint32_t>(record, wide ? kIn64 : static_cast<std::uint32_t>(m.header));
    record += m.name;
    if (wide) put_wide(record, m, true);
    file_.write(record);
  }
  const std::uint64_t end = file_.position(), size = end - start, count = members_.size();
  const bool wide = count >= 0xffff || start >= kIn64 || size >= kIn64;
  std::string record;
  if (wide) {
    put_le<std::uint32_t>(record, kEnd64);
    put_le<std::uint64_t>(record, kEnd64Bytes - 12);
    put_le<std::uint16_t>(record, 45);
    put_le<std::uint16_t>(record, 45);
    put_le<std::uint64_t>(record, 0);  // disks
    put_le<std::uint64_t>(record, count);
    put_le<std::uint64_t>(record, count);
    put_le<std::uint64_t>(record, size);
    put_le<std::uint64_t>(record, start);
    put_le<std::uint32_t>(record, kLocator64);
    put_le<std::uint32_t>(record, 0);
    put_le<std::uint64_t>(record, end);
    put_le<std::uint32_t>(record, 1);
  }
  put_le<std::uint32_t>(record, kEnd);
  put_le<std::uint32_t>(record, 0);  // disks
  put_le<std::uint16_t>(record, wide ? 0xffff : static_cast<std::uint16_t>(count));
  put_le<std::uint16_t>(record, wide ? 0xffff : static_cast<std::uint16_t>(count));
  put_le<std::uint32_t>(record, wide ? kIn64 : static_cast<std::uint32_t>(size));
  put_le<std::uint32_t>(record, wide ? kIn64 : static_cast<std::uint32_t>(start));
  put_le<std::uint16_t>(record, 0);
  file_.write(record);
  file_.commit();
}

}  // namespace shardc::runtime::files
