internal import Compression
internal import Digests

/// Upper limits for a frame, so that damaged numbers can't request all memory.
package enum ZstdLimits {
  package static let plainFrame = 1 << 26
  package static let storedFrame = 1 << 27
}
