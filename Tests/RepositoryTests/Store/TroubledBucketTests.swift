import Foundation
import Platform
import Repository
import SystemPackage
import TestSupport
import Testing
import Transfer

/// Answers of a real server to errors, played by one that always gives them.
@Suite struct `A bucket in trouble` {
  private final class Stub: Sendable {
    let port: Int
    private let process: ServerProcess

    init() throws {
      port = try Loopback.freePort()
      let script = FirnProgram.projectFile("Tests/RepositoryTests/Stub/objects.py")
      process = try ServerProcess("/usr/bin/setpriv", ["--pdeathsig", "KILL", "/usr/bin/python3", "-B", script.string, "\(port)"])
      for _ in 0..<200 {
        if (try? TransferEngine.shared.perform(TransferRequest("GET", "http://127.0.0.1:\(port)/nothing")))?.status == 404 { return }
        Thread.sleep(forTimeInterval: 0.05)
      }
      throw Unavailable("the stub did not start: \(process.messages)")
    }
  }

  private static let stub = Result { try Stub() }
  private static let keys = ["AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"]

  private func store(_ bucket: String, _ environment: [String: String] = keys, command: String? = nil, attempts: Int = 4) throws -> S3Store {
    let location = try S3Location("s3://\(bucket)/firn?endpoint=http://127.0.0.1:\(try Self.stub.get().port)", environment: environment)
    let retries = Retries(attempts: attempts, firstPause: .milliseconds(10), longestPause: .milliseconds(50))
    return S3Store(location, credentialsCommand: command, environment: environment, retries: retries)
  }

  private func failure(_ body: () throws -> Void) -> StoreError? {
    do { try body() } catch { return error as? StoreError }
    return nil
  }

  @Test func `of another region is found there, however a server says so`() throws {
    for bucket in ["elsewhere", "malformed"] {
      let store = try store(bucket)
      #expect(try store.read("x", limit: 100) == Array("found".utf8))
      #expect(try store.read("x", limit: 100) == Array("found".utf8))
    }
    guard case .refused(_, let reason, let hint) = failure({ _ = try store("lost").read("x", limit: 9) }) else { Issue.record("not refused"); return }
    #expect(reason.contains("in another region") && hint?.contains("region") == true)
  }

  @Test func `reports a wrong clock, with the server's time`() throws {
    guard case .refused(_, let reason, let hint) = failure({ _ = try store("skewed").read("x", limit: 9) }) else {
      Issue.record("not refused"); return
    }
    #expect(reason.contains("clock") && reason.contains("GMT") && hint == "set the clock")
  }

  @Test func `gets a new key from the command when one has expired, once`() throws {
    let folder = try TemporaryFolder()
    let script = """
      n=$(cat '\(folder.path("count"))' 2>/dev/null || echo 0); n=$((n + 1)); echo $n > '\(folder.path("count"))'
      printf '{"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "token-%s", "Expiration": "2099-01-01T00:00:00Z"}' $n
      """
    let store = try store("expired", [:], command: "sh \(folder.write(script, to: "key.sh"))")
    #expect(try store.read("x", limit: 100) == Array("token-2".utf8))
    #expect(try store.read("x", limit: 100) == Array("token-2".utf8))
    #expect(String(decoding: try Folder.contents(of: folder.path("count")), as: UTF8.self) == "2\n")
  }

  @Test func `has the key of the machine it is read from, which the metadata service gives to those with a token`() throws {
    let endpoint = "http://127.0.0.1:\(try Self.stub.get().port)"
    let store = try store("echo", ["AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint, "HOME": "/nonexistent"])
    #expect(try store.read("x", limit: 100) == Array("machine machine-token".utf8))
  }

  @Test func `is asked again while it is busy or cut off, after as long as it says, and not for ever`() throws {
    #expect(try store("busy").read("x", limit: 100) == Array("found".utf8))
    #expect(try store("cutting").read("x", limit: 1000).count == 1000)
    let start = ContinuousClock.now
    #expect(try store("waiting").read("x", limit: 100) == Array("found".utf8))
    #expect(ContinuousClock.now - start >= .seconds(2))
    guard case .unreachable(_, let reason) = failure({ _ = try store("failing").read("x", limit: 9) }) else { Issue.record("no failure"); return }
    #expect(reason.contains("500"))
  }

  @Test func `that gives other parts than it is asked for is not taken for one that holds damaged files`() throws {
    #expect(try store("lax").read("x", from: 7, count: 3) == [7, 8, 9])
    guard case .truncated = failure({ _ = try store("lax").read("x", from: 97, count: 9) }) else { Issue.record("too long"); return }
    #expect(try store("whole").read("x", from: 0, count: 100).count == 100)
    guard case .truncated = failure({ _ = try store("whole").read("x", from: 0, count: 101) }) else { Issue.record("too long"); return }
    for (bucket, key, offset) in [("whole", "x", 0), ("whole", "x", 7), ("whole", "large", 0), ("astray", "x", 7)] as [(String, StoreKey, Int64)] {
      guard case .unreachable(_, let reason) = failure({ _ = try store(bucket).read(key, from: offset, count: 3) }) else {
        Issue.record("\(bucket) \(key) from \(offset)")
        continue
      }
      #expect(reason.contains("another part of \(key)"))
    }
  }

  @Test func `that is full, or stores other bytes than it was sent, is reported`() throws {
    for bucket in ["full", "quota"] {
      guard case .full = failure({ try store(bucket).write([1], to: "x", durability: .immediate) }) else { Issue.record("\(bucket)"); return }
    }
    for bucket in ["liar", "other-liar"] {
      guard case .unreachable(_, let reason) = failure({ try store(bucket).write([1], to: "x", durability: .immediate) }) else {
        Issue.record("a lie was believed: \(bucket)")
        continue
      }
      #expect(reason.contains("stored other bytes"))
    }
  }

  @Test func `that keeps locked files deletes the others, and lists the kept ones; one without deletions says so`() throws {
    let locked = try store("locked")
    try locked.delete(["a", "b"])
    // Be it one of several, or the only one.
    for keys in [["a", "b-locked", "c"], ["b-locked"]] {
      guard case .locked(let kept, _) = failure({ try locked.delete(keys) }) else { Issue.record("\(keys)"); return }
      #expect(kept == ["b-locked"])
    }
    guard case .readOnly = failure({ try store("forbidden").delete(["a", "b"]) }) else { Issue.record("not read-only"); return }
  }

  @Test func `that fails after it said that all is well is asked again`() throws {
    #expect(try store("hesitant").rename("a", as: "b"))
    try store("hesitant").delete(["a", "b"])
  }

  @Test func `is not asked to delete once more by who may not, nor after its time`() throws {
    let asked = Monitor(0)
    let store = try store("reluctant")
    #expect(throws: RepositoryError.lockLost) {
      try store.delete(["a", "b"]) {
        if asked.update({
          $0 += 1; return $0
        }) > 1 {
          throw RepositoryError.lockLost
        }
      }
    }
    #expect(asked.current == 2)
    // To be even again.
    try store.delete(["a", "b"])
    var request = TransferRequest("GET", "http://127.0.0.1:\(try Self.stub.get().port)/echo/x")
    request.end = .now - .seconds(1)
    #expect(throws: TransferError.cancelled) { try TransferEngine.shared.perform(request) }
  }

  @Test func `gets the checksum it knows`() throws {
    let file = URL(filePath: NSTemporaryDirectory()).appending(path: "firn-\(UUID())")
    try Data([1, 2, 3]).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    for bucket in ["careful", "old", "simple", "silent"] {
      let store = try store(bucket)
      try store.write([1, 2, 3], to: "x", durability: .immediate)
      try store.write(contentsOf: FilePath(file.path), to: "z")
      #expect(try store.create([1, 2, 3], at: "y"))
    }
    // Only the first of the three was sent twice.
    for bucket in ["old", "silent"] { #expect(try store(bucket).read("count", limit: 10) == Array("4".utf8)) }
  }

  @Test func `whose command for a key never ends is given up`() throws {
    let location = try S3Location("s3://anything/firn?endpoint=http://127.0.0.1:1", environment: [:])
    let source = S3CredentialSource(for: location, command: "sleep 600", environment: ["PATH": "/usr/bin:/bin"], patience: .milliseconds(300))
    guard case .refused(_, let reason, _) = failure({ _ = try source.current() }) else { Issue.record("not refused"); return }
    #expect(reason.contains("did not end"))
  }

  @Test func `whose location holds a key shows none of it`() throws {
    guard case .badLocation(let shown, _) = failure({ _ = try S3Location("s3://AKIA:SECRET@host/bucket", environment: [:]) }) else {
      Issue.record("taken")
      return
    }
    #expect(!shown.contains("SECRET") && shown.contains("@host"))
  }

  @Test func `that lists a part alone, and not how it goes on, is no listing`() throws {
    guard case .unreachable(_, let reason) = failure({ _ = try store("partial").list("") }) else { Issue.record("believed"); return }
    #expect(reason.contains("part of a listing"))
  }
}
