internal import CLinux

/// Texts in other encodings than UTF-8, by the C library's iconv(3).
package enum TextConversion {
  /// - Parameters:
  ///   - encoding: as iconv calls it.
  /// - Returns: nil where a byte means nothing in it, or there is no such encoding.
  package static func text(of bytes: [UInt8], in encoding: String) -> String? {
    convert(bytes, from: encoding, to: "UTF-8").map { String(decoding: $0, as: UTF8.self) }
  }

  /// - Returns: nil where a character has no equivalent.
  package static func bytes(of text: String, in encoding: String) -> [UInt8]? { convert(Array(text.utf8), from: "UTF-8", to: encoding) }

  private static func convert(_ bytes: [UInt8], from source: String, to target: String) -> [UInt8]? {
    // No character needs more than four bytes in UTF-8; encodings with a mode of writing end with a few more.
    var result = [UInt8](repeating: 0, count: bytes.count * 4 + 16)
    let count = unsafe bytes.withUnsafeBufferPointer { input in
      unsafe result.withUnsafeMutableBufferPointer { output in
        unsafe firn_convert(source, target, input.baseAddress, input.count, output.baseAddress, output.count)
      }
    }
    return count < 0 ? nil : Array(result[..<count])
  }
}
