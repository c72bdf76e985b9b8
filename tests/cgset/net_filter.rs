//! Which addresses a group may send to and get from.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Test, eventually, need_program, run, scratch, skip};

use crate::faults::failing;
use crate::layout::{Name, Waiting, cgset, groups_called, need_v2, tool};

/// Where programs of a group may want to connect to; whoever gets there is sent away.
struct Servers([SocketAddr; 3]);

impl Servers {
    fn new() -> Result<Self, support::Skip> {
        need_v2()?;
        need_program("busybox")?;
        let mut bound = Vec::new();
        for address in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"] {
            let server = TcpListener::bind(address);
            let server = server.map_err(|error| skip(format!("no {address} here: {error}")))?;
            bound.push(server.local_addr().expect("it has one"));
            thread::spawn(move || server.incoming().for_each(drop));
        }
        Ok(Self(bound.try_into().expect("three")))
    }

    /// Whether each lets itself be connected to from the group; a refusal is EPERM, and at once.
    fn reached(&self, name: &str) -> [bool; 3] {
        let script = "for server; do
                said=$(busybox nc -w 5 ${server% *} ${server#* } </dev/null 2>&1) && said=reached
                echo \"$said\"
            done";
        let servers = self.0.map(|address| format!("{} {}", address.ip(), address.port()));
        let mut command = tool();
        command.args(["-g", name, "--", "busybox", "sh", "-c", script, "sh"]).args(servers);
        let said = run(&mut command).silent();
        let said: Vec<&str> = said.lines().collect();
        [0, 1, 2].map(|nth| {
            let denied = said[nth].ends_with("Operation not permitted");
            assert!(denied || said[nth] == "reached", "{said:?}");
            !denied
        })
    }
}

/// What `show` says of the rules, and of nothing else.
fn shown(name: &str) -> Vec<String> {
    let text = cgset(&["show", name]).silent();
    let rules = text
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("net.deny ") || line.starts_with("net.allow "));
    rules.map(str::to_owned).collect()
}

pub fn the_most_specific_network_decides() -> Test {
    let servers = Servers::new()?;
    for (rules, wanted) in [
        (&["net.deny", "127.0.0.1"][..], [false, true, true]),
        (&["net.deny", "127.0.0.0/8", "net.allow", "127.0.0.2"], [false, true, true]),
        (&["net.allow", "127.0.0.2/31", "net.deny", "127.0.0.0/24"], [false, true, true]),
        (&["net.deny", "any", "net.allow", "127.0.0.0/8"], [true, true, false]),
        (&["net.deny", "any", "net.allow", "::1"], [false, false, true]),
        (&["net.deny", "::/0"], [true, true, false]),
        (&["net.allow", "127.0.0.1"], [true, true, true]),
    ] {
        let name = Name::new("networks-filter");
        cgset(&[rules, &["-g", &name]].concat()).silent();
        assert_eq!(servers.reached(&name), wanted, "{rules:?}");
    }
    Ok(())
}

/// Without connect(2) it is the packet itself that is refused.
pub fn a_packet_that_is_sent_is_refused() -> Test {
    need_v2()?;
    need_program("busybox")?;
    for (rules, address, part) in [
        (&["net.deny", "127.0.0.1"][..], "127.0.0.1", "Operation not permitted"),
        (&["net.deny", "any", "net.allow", "127.0.0.0/8"], "127.0.0.1", ""),
        (&["net.deny", "::1"], "::1", "Operation not permitted"),
        (&["net.deny", "127.0.0.1"], "::1", ""),
    ] {
        let ping = ["--", "busybox", "ping", "-c", "1", "-W", "2", address];
        let ran = cgset(&[rules, &ping].concat());
        assert_eq!(
            (ran.status == 0, ran.stderr.contains(part)),
            (part.is_empty(), true),
            "{ran:?}"
        );
    }
    Ok(())
}

/// A program that knows only IPv6 reaches IPv4 as ::ffff:127.0.0.1, which is IPv4 all the same.
pub fn ipv4_by_ipv6_is_ipv4() -> Test {
    let servers = Servers::new()?;
    let port = servers.0[0].port().to_string();
    for (rules, wanted) in [
        (["net.deny", "::/0"], true),
        (["net.deny", "127.0.0.1"], false),
        (["net.deny", "::1"], true),
    ] {
        let nc = ["--", "busybox", "nc", "-w", "5", "::ffff:127.0.0.1", &port];
        let ran = cgset(&[&rules[..], &nc].concat());
        let denied = ran.stderr.contains("Operation not permitted");
        assert_eq!((ran.status == 0, denied), (wanted, !wanted), "{rules:?} {ran:?}");
    }
    Ok(())
}

pub fn a_packet_that_comes_in_is_dropped() -> Test {
    need_v2()?;
    need_program("perl")?;
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("loopback").port();
    let script = "$socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => $ARGV[0]);
        $socket->recv($line, 99); print $line";
    let address = format!("127.0.0.1:{port}");
    let perl = ["--", "perl", "-MIO::Socket::INET", "-e", script, &address];
    let mut server = tool();
    server.args(["net.deny", "127.0.0.2"]).args(perl).stdout(Stdio::piped());
    let mut server = server.spawn().expect("it starts");
    let mut line = String::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = |from: &str| UdpSocket::bind(from).expect("loopback");
            let (denied, allowed) = (client("127.0.0.2:0"), client("127.0.0.1:0"));
            while !done.load(Ordering::Relaxed) {
                // In one go, so that a server that is ready sees the first one first.
                let _ = denied.send_to(b"denied\n", ("127.0.0.1", port));
                let _ = allowed.send_to(b"allowed\n", ("127.0.0.1", port));
                sleep(Duration::from_millis(20));
            }
        });
        let output = server.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.wait().expect("ours").code(), Some(0));
    assert_eq!(line, "allowed\n");
    Ok(())
}

pub fn networks_add_up_are_shown_and_go_with_the_group() -> Test {
    let servers = Servers::new()?;
    let name = Name::new("networks-adds-up");
    cgset(&["net.deny", "any", "-g", &name]).silent();
    assert_eq!(servers.reached(&name), [false; 3]);
    cgset(&["net.allow", "127.0.0.2", "net.allow", "::1", "-g", &name]).silent();
    assert_eq!(servers.reached(&name), [false, true, true]);
    let rules = ["net.deny 0.0.0.0/0", "net.allow 127.0.0.2/32", "net.deny ::/0"];
    assert_eq!(shown(&name), [&rules[..], &["net.allow ::1/128"]].concat());
    cgset(&["net.deny", "::1", "net", "8mbit", "-g", &name]).silent();
    assert_eq!(servers.reached(&name), [false, true, false]);
    let text = cgset(&["show", "--json", &name]).silent();
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown["net"]["deny"], json!(["0.0.0.0/0", "::/0", "::1/128"]));
    assert_eq!(shown["net"]["allow"], json!(["127.0.0.2/32"]));
    assert_eq!(shown["net"]["out"]["bytes"], 1_000_000);
    // For a group in the group the same holds, and more if it has rules of its own.
    let inner = format!("{}/inner", &*name);
    cgset(&["net.deny", "127.0.0.0/8", "-g", &inner]).silent();
    assert_eq!(servers.reached(&inner), [false; 3]);
    assert_eq!(cgset(&["rm", &inner, &name]).silent(), "");
    cgset(&["create", &name]).silent();
    assert_eq!(servers.reached(&name), [true; 3]);
    Ok(())
}

pub fn the_script_denies_the_same() -> Test {
    let servers = Servers::new()?;
    let name = Name::new("networks-by-script");
    let args = ["-n", "net.deny", "any", "net.allow", "127.0.0.1", "-g", &*name];
    let script = cgset(&args).silent();
    assert!(groups_called(&name).is_empty());
    let folder = scratch();
    let file = folder.path().join("script");
    std::fs::write(&file, &script).expect("ours");
    let tool = std::path::Path::new(env!("CARGO_BIN_EXE_cgset")).parent().expect("a folder");
    let path = format!("{}:{}", tool.display(), std::env::var("PATH").unwrap_or_default());
    run(Command::new("sh").arg(&file).env("PATH", path)).silent();
    assert_eq!(servers.reached(&name), [true, false, false], "{script}");
    Ok(())
}

pub fn networks_that_make_no_sense_are_refused() -> Test {
    let name = Name::new("networks-never-made");
    for (args, parts) in [
        (
            &["net.deny", "10.0.0.1/8"][..],
            &["bits behind those of the network", "hint: is 10.0.0.0/8 meant?"][..],
        ),
        (&["net.deny", "010.0.0.0/8"], &["it is no address", "hint: net.deny takes 10.0.0.0/8"]),
        (&["net.allow", "example.com"], &["getent ahosts example.com"]),
        (&["net.allow", ""], &["it is empty", "hint: net.allow takes"]),
        (&["net.allow", "10.0.0.0/33"], &["from 0 to 32"]),
        (&["net.deny", "any", "net.allow", "::/0"], &["::/0 is given twice", "hint: "]),
        (&["net.denny", "any"], &["hint: is net.deny meant?"]),
        (&["net.deny"], &["\"net.deny\" has no value"]),
    ] {
        cgset(&[args, &["-g", &name]].concat()).fails(2, "cgset", parts);
        cgset(&[args, &["--", "true"]].concat()).fails(125, "cgset", &["hint: "]);
    }
    assert!(groups_called(&name).is_empty());
    Ok(())
}

pub fn each_call_that_fails_leaves_the_old_networks() -> Test {
    need_v2()?;
    let kept = Name::new("networks-kept");
    cgset(&["net.deny", "10.0.0.0/8", "net.allow", "10.1.0.0/16", "-g", &kept]).silent();
    let old = shown(&kept);
    let mut failures = 0;
    for nth in 1.. {
        let change = ["net.allow", "10.0.0.0/8", "net.deny", "any", "-g", &*kept];
        let changed = failing("bpf:error=EPERM", nth, &change)?;
        if changed.status == 0 {
            break;
        }
        changed.fails(1, "cgset", &["(EPERM)", "hint: that takes CAP_BPF"]);
        assert_eq!(shown(&kept), old, "{nth}: {changed:?}");
        failures += 1;
    }
    assert_ne!(shown(&kept), old);
    // What fails behind them takes them back too.
    let now = shown(&kept);
    let child = Waiting::idle();
    let change = ["net.deny", "192.0.2.0/24", "-g", &*kept, &child.pid()];
    failing("pidfd_open:error=EIO", 1, &change)?.fails(1, "cgset", &["(EIO)"]);
    assert_eq!(shown(&kept), now);
    for nth in 1.. {
        let name = Name::new("networks-failing");
        let made = failing("bpf:error=EPERM", nth, &["net.deny", "any", "-g", &name])?;
        if made.status == 0 {
            break;
        }
        made.fails(1, "cgset", &["(EPERM)", "hint: that takes CAP_BPF"]);
        assert!(groups_called(&name).is_empty(), "{nth}");
        failures += 1;
    }
    assert!(failures > 30, "maps and programs are made, looked at and put in: {failures}");
    Ok(())
}

pub fn a_running_sender_learns_of_a_new_rule() -> Test {
    let servers = Servers::new()?;
    let name = Name::new("networks-running");
    let port = servers.0[0].port().to_string();
    let script =
        "while timeout 3 busybox nc 127.0.0.1 \"$0\" </dev/null; do echo again; sleep 0.05; done";
    let mut loops = tool();
    loops.args(["-g", &name, "net.allow", "any", "--", "sh", "-c", script, &port]);
    let loops = loops.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut loops = loops.expect("it starts");
    let mut output = BufReader::new(loops.stdout.take().expect("piped"));
    output.read_line(&mut String::new()).expect("it connects");
    cgset(&["net.deny", "127.0.0.0/8", "-g", &name]).silent();
    eventually("it is refused", || loops.try_wait().expect("ours"));
    Ok(())
}
