internal import Glibc

extension String {
  /// Whether the bytes are the same. `==` takes `é` for an `e` with an accent; file systems and PostgreSQL don't.
  package func isSame(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }

  /// The text as one word of a shell's command line, for hints that are pasted.
  package var shellWord: String {
    let isPlain = utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
      default: "_-.,:/@%+=".utf8.contains(byte)
      }
    }
    return isPlain && !isEmpty && !hasPrefix("-") ? self : "'\(replacingASCII("'", with: "'\\''"))'"
  }

  /// Whether the whole text matches a pattern of fnmatch(3), with `*`, `?` and `[…]`.
  package func matches(glob pattern: String) -> Bool { unsafe fnmatch(pattern, self, 0) == 0 }

  /// The text with every occurrence of an ASCII character replaced, byte by byte. Code that quotes must not compare
  /// `Character`s: a quote after U+0600 or before an accent is part of another character and would stay unquoted.
  package func replacingASCII(_ character: Unicode.Scalar, with replacement: String) -> String {
    precondition(character.isASCII)
    var bytes: [UInt8] = []
    for byte in utf8 {
      if byte == UInt8(ascii: character) { bytes.append(contentsOf: replacement.utf8) } else { bytes.append(byte) }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension Array<UInt8> {
  /// Appends the bytes of a span.
  package mutating func append(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
  }
}

extension Span<UInt8> {
  /// How many of the bytes are `byte`. The C library's search uses the widest registers there are.
  package func count(of byte: UInt8) -> Int {
    unsafe withUnsafeBytes { buffer in
      var total = 0
      guard var place = buffer.baseAddress else { return 0 }
      let end = unsafe place + buffer.count
      while let found = unsafe memchr(place, Int32(byte), end - place) {
        total += 1
        unsafe place = UnsafeRawPointer(found) + 1
      }
      return total
    }
  }
}

extension Array<UInt8> {
  /// Copies the bytes of `range` to the beginning; the length stays.
  package mutating func moveToFront(_ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    guard range.lowerBound > 0, !range.isEmpty else { return }
    unsafe withUnsafeMutableBytes { bytes in
      unsafe bytes.baseAddress!.copyMemory(from: bytes.baseAddress! + range.lowerBound, byteCount: range.count)
    }
  }
}
