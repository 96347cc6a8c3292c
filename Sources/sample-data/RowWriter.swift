import Foundation

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, fast, and the same everywhere.
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  mutating func unit() -> Double { Double(next() >> 11) / 9_007_199_254_740_992.0 }
}

/// A vocabulary whose ranks are drawn by Zipf's law, as words in natural text are.
struct Vocabulary {
  let words: [[UInt8]]
  private let logSize: Double

  init(size: Int) {
    var random = SplitMix64(state: 7)
    let onsets = ["b", "br", "c", "ch", "d", "f", "g", "h", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr", "v", "w"]
    let nuclei = ["a", "e", "i", "o", "u", "ai", "ea", "io", "ou"]
    let codas = ["", "", "n", "r", "s", "t", "l", "nd", "st", "ng", "m"]
    words = (0..<size).map { rank in
      let syllables = 1 + (rank > 60 ? 1 : 0) + (rank > 2000 ? random.below(3) : 0)
      var word = ""
      for _ in 0..<syllables {
        word += onsets[random.below(onsets.count)] + nuclei[random.below(nuclei.count)] + codas[random.below(codas.count)]
      }
      return Array(word.utf8)
    }
    logSize = log(Double(size))
  }

  /// A word; rank r comes about as often as 1/r.
  func draw(_ random: inout SplitMix64) -> [UInt8] {
    words[min(words.count - 1, Int(exp(random.unit() * logSize)) - 1)]
  }
}

/// One table's rows, appended to a buffer that is written in large pieces.
struct RowWriter {
  private let vocabulary = Vocabulary(size: 30000)
  private var buffer: [UInt8] = []

  init() { buffer.reserveCapacity(1 << 21) }

  mutating func rows(of table: String, seed: UInt64, from first: Int, count: Int) -> Bool {
    for id in first..<(first + count) {
      var random = SplitMix64(state: seed &* 0xD134_2543_DE82_EF95 &+ UInt64(id))
      switch table {
      case "users": user(id, &random)
      case "documents": document(id, &random)
      case "events": event(id, &random)
      case "attachments": attachment(id, &random)
      case "taggings": tagging(id, &random)
      default: return false
      }
      buffer.append(0x0A)
      if buffer.count > 1 << 20 { flush() }
    }
    flush()
    return true
  }

  private mutating func flush() {
    do { try FileHandle.standardOutput.write(contentsOf: Data(buffer)) } catch { exit(1) }
    buffer.removeAll(keepingCapacity: true)
  }

  private mutating func put(_ text: String) { buffer.append(contentsOf: text.utf8) }
  private mutating func tab() { buffer.append(0x09) }

  private mutating func prose(words: Int, _ random: inout SplitMix64) {
    for index in 0..<words {
      if index > 0 { put(index % 13 == 12 ? ". " : " ") }
      buffer.append(contentsOf: vocabulary.draw(&random))
    }
  }

  private mutating func hex(bytes: Int, _ random: inout SplitMix64) {
    let digits = Array("0123456789abcdef".utf8)
    var left = bytes
    while left > 0 {
      var word = random.next()
      for _ in 0..<min(8, left) {
        buffer.append(digits[Int(word & 15)])
        buffer.append(digits[Int((word >> 4) & 15)])
        word >>= 8
      }
      left -= 8
    }
  }

  private mutating func time(_ id: Int, _ random: inout SplitMix64) {
    let second = id * 37 + random.below(30)
    let day = second / 86400 % 1000
    put("20\(22 + day / 336)-\(two(1 + day / 28 % 12))-\(two(1 + day % 28)) ")
    put("\(two(second / 3600 % 24)):\(two(second / 60 % 60)):\(two(second % 60)).\(100_000 + random.below(899_999))")
  }

  private func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

  private mutating func user(_ id: Int, _ random: inout SplitMix64) {
    put("\(id)\tuser\(id)@"); buffer.append(contentsOf: vocabulary.draw(&random)); put(".example\t")
    prose(words: 2, &random)
    put("\t$2a$12$"); hex(bytes: 26, &random)
    put("\t{\"theme\": \"\(random.below(2) == 0 ? "dark" : "light")\", \"locale\": \"ja\", \"digest\": \(random.below(2) == 0)}\t")
    time(id, &random)
  }

  private mutating func document(_ id: Int, _ random: inout SplitMix64) {
    put("\(id)\t\(1 + random.below(max(1, id / 20)))\t")
    prose(words: 4 + random.below(6), &random); tab()
    prose(words: 60 + Int(240 * -log(1 - random.unit())), &random)
    put("\t\(["draft", "pending", "published", "archived"][random.below(4)])\t")
    put(
      "{\"source\": \"upload\", \"pages\": \(1 + random.below(40)), \"language\": \"\(["ja", "en", "de"][random.below(3)])\", \"score\": 0.\(random.below(1_000_000)), \"labels\": [\""
    )
    prose(words: 1, &random); put("\", \""); prose(words: 1, &random)
    put("\"]}\t"); time(id, &random); tab(); time(id + random.below(5000), &random)
  }

  private mutating func event(_ id: Int, _ random: inout SplitMix64) {
    put("\(id)\t\(1 + random.below(max(1, id / 6)))\t\(["viewed", "edited", "shared", "exported", "commented"][random.below(5)])\t")
    put("{\"request_id\": \""); hex(bytes: 16, &random)
    put(
      "\", \"duration_ms\": \(random.below(4000)), \"status\": \(random.below(20) == 0 ? 500 : 200), \"path\": \"/documents/\(random.below(1_000_000))\", \"note\": \""
    )
    prose(words: 3 + random.below(12), &random)
    put("\"}\t10.\(random.below(4)).\(random.below(256)).\(random.below(256))\t"); time(id, &random)
  }

  private mutating func attachment(_ id: Int, _ random: inout SplitMix64) {
    put("\(id)\t\(1 + random.below(max(1, id * 6)))\t")
    prose(words: 1, &random); put("_\(id).pdf\tapplication/pdf\t")
    hex(bytes: 32, &random); put("\t\\\\x"); hex(bytes: 1500 + random.below(9000), &random)
  }

  private mutating func tagging(_ id: Int, _ random: inout SplitMix64) {
    put("\(id)\t\(1 + random.below(400))\t\(1 + random.below(max(1, id / 8)))\t"); time(id, &random)
  }
}

let schema = """
  CREATE TABLE users (id bigint NOT NULL, email text NOT NULL, name text, encrypted_password text, settings jsonb, created_at timestamp);
  CREATE TABLE documents (id bigint NOT NULL, user_id bigint, title text, body text, status text, metadata jsonb,
    created_at timestamp, updated_at timestamp);
  CREATE TABLE events (id bigint NOT NULL, document_id bigint, kind text, payload jsonb, ip inet, created_at timestamp);
  CREATE TABLE attachments (id bigint NOT NULL, document_id bigint, filename text, content_type text, checksum text, data bytea);
  CREATE TABLE taggings (id bigint NOT NULL, tag_id int, document_id bigint, created_at timestamp);
  """

let indexes = """
  ALTER TABLE users ADD PRIMARY KEY (id);
  ALTER TABLE documents ADD PRIMARY KEY (id);
  ALTER TABLE events ADD PRIMARY KEY (id);
  ALTER TABLE attachments ADD PRIMARY KEY (id);
  ALTER TABLE taggings ADD PRIMARY KEY (id);
  CREATE UNIQUE INDEX users_email ON users (email);
  CREATE INDEX documents_user ON documents (user_id);
  CREATE INDEX documents_status ON documents (status, created_at);
  CREATE INDEX documents_title ON documents (title);
  CREATE INDEX events_document ON events (document_id);
  CREATE INDEX events_created ON events (created_at);
  CREATE INDEX attachments_document ON attachments (document_id);
  CREATE INDEX taggings_pair ON taggings (tag_id, document_id);
  ALTER TABLE documents ADD FOREIGN KEY (user_id) REFERENCES users;
  ALTER TABLE taggings ADD FOREIGN KEY (document_id) REFERENCES documents;
  """
