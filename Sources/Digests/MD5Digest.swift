internal import Crypto
internal import Foundation

/// An MD5 digest, which S3 uses to check transfers. It gives no protection against deliberate changes.
package struct MD5Hasher {
  private var hasher = Insecure.MD5()

  package init() {}

  package mutating func update(_ bytes: Span<UInt8>) {
    unsafe bytes.withUnsafeBytes { unsafe hasher.update(bufferPointer: $0) }
  }

  /// The digest of some bytes.
  package static func digest(of bytes: [UInt8]) -> [UInt8] {
    var hasher = Self()
    hasher.update(bytes.span)
    return hasher.finalize()
  }

  /// 16 bytes.
  package func finalize() -> [UInt8] { Array(hasher.finalize()) }
}
