import Foundation
import TestSupport

// The entries of libFuzzer (https://llvm.org/docs/LibFuzzer.html): the first byte chooses the reader, the rest is what it reads.
// scripts/fuzz builds and runs it.

/// Puts what the readers take where the fuzzer begins from.
@_cdecl("LLVMFuzzerInitialize")
public func writeSamples(_: UnsafePointer<CInt>, _: UnsafeRawPointer) -> CInt {
  guard let folder = ProcessInfo.processInfo.environment["FIRN_FUZZ_SAMPLES"] else { return 0 }
  do {
    for reader in FuzzedReader.allCases {
      for (number, sample) in try reader.samples().enumerated() {
        let path = "\(folder)/\(reader)-\(number)"
        guard reader.read(sample) else { fatalError("the reader \(reader) refuses its own sample") }
        try Data([reader.rawValue] + sample).write(to: URL(fileURLWithPath: path))
      }
    }
  } catch {
    fatalError("\(error)")
  }
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func readOne(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> CInt {
  guard count > 0, let reader = FuzzedReader(rawValue: unsafe bytes[0]) else { return -1 }
  reader.read(unsafe Array(UnsafeBufferPointer(start: bytes + 1, count: count - 1)))
  return 0
}
