internal import CZstd

/// A failure of libzstd: damaged input, or no memory.
package struct CompressionError: Error, Equatable {
  package let reason: String

  package init(reason: String) { self.reason = reason }
}

/// Makes zstd frames (RFC 8878), each with its content size and checksum.
@safe package struct ZstdCompressor: ~Copyable {
  /// How hard to look for repetitions. Measured on COPY text in frames of 4 MiB with libzstd 1.5.4, beside `zstd -3`:
  /// on prose `dense` is smaller by 1 % and faster by a quarter, and `light` larger by 4 % and faster by 30 %; on rows of numbers and
  /// short strings `light` is larger by 2 % and faster by half; on hex `fast` is smaller by 3 % and four times as fast.
  package enum Effort: Sendable, CaseIterable { case fast, light, dense, table }

  private let context: OpaquePointer
  /// Written to again and again, so that what is handed out has no room to spare.
  private var scratch: [UInt8] = []

  package init() throws(CompressionError) {
    guard let context = unsafe ZSTD_createCCtx() else { throw CompressionError(reason: "no memory to compress") }
    unsafe self.context = unsafe context
  }

  deinit { unsafe ZSTD_freeCCtx(context) }

  /// One frame that holds `source`.
  package mutating func compress(_ source: Span<UInt8>, effort: Effort) throws(CompressionError) -> [UInt8] {
    unsafe ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters)
    var settings: [(ZSTD_cParameter, Int32)] = [(ZSTD_c_checksumFlag, 1)]
    switch effort {
    case .fast: settings += [(ZSTD_c_compressionLevel, 1)]
    // Long matches only, found by a table that stays in the second-level cache, in all of the frame.
    case .light: settings += [(ZSTD_c_compressionLevel, 2), (ZSTD_c_minMatch, 6), (ZSTD_c_hashLog, 16), (ZSTD_c_windowLog, 22)]
    case .dense: settings += [(ZSTD_c_compressionLevel, 2), (ZSTD_c_minMatch, 7), (ZSTD_c_hashLog, 17), (ZSTD_c_windowLog, 22)]
    case .table: settings += [(ZSTD_c_compressionLevel, 3)]
    }
    for (parameter, value) in settings { unsafe ZSTD_CCtx_setParameter(context, parameter, value) }
    let bound = ZSTD_compressBound(source.count)
    if scratch.count < bound { scratch = [UInt8](repeating: 0, count: bound) }
    let context = unsafe context
    let status = unsafe scratch.withUnsafeMutableBytes { target in
      unsafe source.withUnsafeBytes {
        unsafe ZSTD_compress2(context, target.baseAddress, target.count, $0.baseAddress, $0.count)
      }
    }
    if ZSTD_isError(status) != 0 { throw CompressionError(reason: unsafe String(cString: ZSTD_getErrorName(status))) }
    return Array(scratch[..<status])
  }
}

/// Reads zstd frames back.
@safe package struct ZstdDecompressor: ~Copyable {
  private let context: OpaquePointer

  package init() throws(CompressionError) {
    guard let context = unsafe ZSTD_createDCtx() else { throw CompressionError(reason: "no memory to decompress") }
    unsafe self.context = unsafe context
  }

  deinit { unsafe ZSTD_freeDCtx(context) }

  /// The bytes of one frame, which must be `plainLength` of them, no fewer and no more.
  package func decompress(_ frame: Span<UInt8>, plainLength: Int) throws(CompressionError) -> [UInt8] {
    var status = 0
    let plain = unsafe [UInt8](unsafeUninitializedCapacity: plainLength) { buffer, filled in
      status = unsafe frame.withUnsafeBytes {
        unsafe ZSTD_decompressDCtx(context, buffer.baseAddress, plainLength, $0.baseAddress, $0.count)
      }
      filled = ZSTD_isError(status) == 0 ? status : 0
    }
    if ZSTD_isError(status) != 0 { throw CompressionError(reason: unsafe String(cString: ZSTD_getErrorName(status)).lowercased()) }
    guard plain.count == plainLength else { throw CompressionError(reason: "a frame of another length") }
    return plain
  }

  /// The bytes of all frames in `data`, at most `limit`. Every frame must state its size.
  package func decompressAll(_ data: [UInt8], limit: Int) throws(CompressionError) -> [UInt8] {
    var plain: [UInt8] = []
    var place = 0
    while place < data.count {
      let rest = data.span.extracting(place..<data.count)
      let length = unsafe rest.withUnsafeBytes { unsafe ZSTD_findFrameCompressedSize($0.baseAddress, $0.count) }
      let content = unsafe rest.withUnsafeBytes { unsafe ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
      // The two largest values mean an unknown size and an error (zstd.h).
      guard ZSTD_isError(length) == 0, content < UInt64.max - 1 else { throw CompressionError(reason: "not a zstd frame") }
      guard content <= UInt64(limit - plain.count) else { throw CompressionError(reason: "larger than it may be") }
      plain += try decompress(rest.extracting(first: length), plainLength: Int(content))
      place += length
    }
    return plain
  }

  /// The stored size of the first frame in `data`; nil if it does not begin with a frame.
  package func lengthOfFirstFrame(in data: [UInt8]) -> Int? {
    let length = unsafe data.withUnsafeBytes { unsafe ZSTD_findFrameCompressedSize($0.baseAddress, $0.count) }
    return ZSTD_isError(length) == 0 ? length : nil
  }

  /// Decodes every frame in `data` and lets the bytes go.
  /// - Returns: what is wrong, or nil.
  package func firstFault(in data: [UInt8]) -> String? {
    var place = 0
    while place < data.count {
      let rest = data.span.extracting(place..<data.count)
      let length = unsafe rest.withUnsafeBytes { unsafe ZSTD_findFrameCompressedSize($0.baseAddress, $0.count) }
      let content = unsafe rest.withUnsafeBytes { unsafe ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
      guard ZSTD_isError(length) == 0, content <= 1 << 26 else { return "it is not made of zstd frames" }
      do { _ = try decompress(rest.extracting(first: length), plainLength: Int(content)) } catch { return error.reason }
      place += length
    }
    return nil
  }
}
