//! What goes through the network.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Test, need_program, need_root, run, skip};

use crate::faults::failing;
use crate::layout::{Name, cgset, groups_called, need_v2, tool, trees};

/// Mbit/s at which something counts bytes, without the burst of the first second.
fn mbits(mut piece: impl FnMut() -> std::io::Result<usize>) -> f64 {
    let start = Instant::now();
    let (burst, counted) = (Duration::from_secs(1), Duration::from_secs(3));
    let mut bytes = 0;
    while start.elapsed() < burst + counted {
        let more = piece().expect("the connection lasts");
        if start.elapsed() > burst {
            bytes += more;
        }
    }
    f64::from(u32::try_from(bytes / 1000).expect("under 4 TB")) * 8.0 / 1e3 / counted.as_secs_f64()
}

fn reads(stream: &TcpStream) -> f64 {
    let mut room = vec![0; 1 << 16];
    mbits(|| (&mut &*stream).read(&mut room))
}

fn writes(stream: &TcpStream) -> f64 {
    let data = vec![0; 1 << 14];
    mbits(|| (&mut &*stream).write(&data))
}

/// A client of ours in a limited group, and our end of its connection.
struct Connected {
    client: Child,
    stream: TcpStream,
}

impl Connected {
    fn start(args: &[&str], shell: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("it has one").port();
        let script = format!("exec busybox nc 127.0.0.1 {port} {shell}");
        let mut client = tool();
        client.args(args).args(["--", "sh", "-c", &script]);
        let client = client.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        let (stream, _) = listener.accept().expect("it connects");
        Self { client, stream }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[track_caller]
fn close(rate: f64, wanted: f64) {
    assert!((rate / wanted - 1.0).abs() < 0.15, "{rate} Mbit/s instead of {wanted}");
}

pub fn a_rate_is_held_each_way() -> Test {
    need_v2()?;
    need_program("busybox")?;
    let sends = Connected::start(&["net.out", "40mbit"], "</dev/zero");
    let gets = Connected::start(&["net.in", "5MB/s"], ">/dev/null");
    let (sent, got) = thread::scope(|scope| {
        let sent = scope.spawn(|| reads(&sends.stream));
        let got = scope.spawn(|| writes(&gets.stream));
        (sent.join().expect("measured"), got.join().expect("measured"))
    });
    close(sent, 40.0);
    close(got, 40.0);
    Ok(())
}

pub fn a_new_rate_reaches_old_connections() -> Test {
    need_v2()?;
    need_program("busybox")?;
    let name = Name::new("rate");
    let client = Connected::start(&["net.out", "10mbit", "-g", &name], "</dev/zero");
    close(reads(&client.stream), 10.0);
    cgset(&["net.out", "50mbit", "-g", &name]).ok();
    close(reads(&client.stream), 50.0);
    cgset(&["net", "max", "-g", &name]).ok();
    assert!(reads(&client.stream) > 100.0);
    Ok(())
}

/// What iperf3 in a limited group measures against a server of ours.
fn iperf3(settings: &[&str], port: u16, options: &[&str]) -> Value {
    let iperf3 = need_program("iperf3").expect("looked for before");
    let port = port.to_string();
    let server = Command::new(&iperf3)
        .args(["-s", "-1", "-B", "127.0.0.1", "-p", &port])
        .stdout(Stdio::null())
        .spawn();
    let mut server = server.expect("it starts");
    let client = ["-c", "127.0.0.1", "-p", &port, "-J", "--connect-timeout", "3000"];
    let program = iperf3.to_str().expect("UTF-8");
    let again = (0..20).find_map(|_| {
        sleep(Duration::from_millis(100));
        let ran = run(tool().args(settings).args(["--", program]).args(client).args(options));
        (ran.status == 0).then_some(ran)
    });
    let _ = server.kill();
    let _ = server.wait();
    serde_json::from_str(&again.expect("it connects").stdout).expect("JSON")
}

/// A port that no other of these tests takes.
fn port() -> u16 {
    20_000 + u16::try_from(std::process::id() % 10_000).expect("small")
}

/// The asked-for precision, by the usual tool, where it is installed.
pub fn iperf3_measures_what_was_asked_for() -> Test {
    need_v2()?;
    need_program("iperf3")?;
    let measure = |key: &str, mbit: u32, port: u16, reverse: &[&str]| {
        let options = [&["-t", "12"], reverse].concat();
        let told = iperf3(&[key, &format!("{mbit}mbit")], port, &options);
        let bits = told["end"]["sum_received"]["bits_per_second"].as_f64().expect("a number");
        bits / f64::from(mbit) / 1e6
    };
    // What comes in can't be paced. Over loopback a packet has 64 KiB, four of which are all that may
    // be outstanding at the least rate, so that a loss there costs a visible pause: there it is the
    // median of three.
    let out = [8, 100, 1000].map(|mbit| ("net.out", mbit, &[][..]));
    let inwards = [8, 8, 8, 100, 1000].map(|mbit| ("net.in", mbit, &["-R"][..]));
    let mut shares = thread::scope(|scope| {
        let measure = &measure;
        let runs = out.into_iter().chain(inwards).zip(port()..);
        let start = |((key, mbit, reverse), port)| {
            (key, mbit, scope.spawn(move || measure(key, mbit, port, reverse)))
        };
        let started: Vec<_> = runs.map(start).collect();
        let end = |(key, mbit, run): (_, _, thread::ScopedJoinHandle<f64>)| {
            (key, mbit, run.join().expect("measured"))
        };
        started.into_iter().map(end).collect::<Vec<_>>()
    });
    shares.sort_by(|a, b| a.2.total_cmp(&b.2));
    let is_least = |(key, mbit, _): &(&str, u32, f64)| (*key, *mbit) == ("net.in", 8);
    let (least, mut shares): (Vec<_>, Vec<_>) = shares.into_iter().partition(is_least);
    shares.push(least[1]);
    for (key, mbit, share) in shares {
        assert!((share - 1.0).abs() < 0.05, "{key} {mbit}mbit: {share}; others {least:?}");
    }
    Ok(())
}

/// Without that queue, what a program sends four times too fast is lost for three quarters.
pub fn what_is_early_waits_where_a_device_sends_by_the_clock() -> Test {
    need_v2()?;
    need_program("iperf3")?;
    let tc = need_program("tc")?;
    if !run(Command::new(tc).args(["qdisc", "show"])).ok().contains("qdisc fq ") {
        return Err(skip("no device here has the queue discipline fq"));
    }
    let name = Name::new("fq");
    let options = ["-u", "-b", "32M", "-l", "1400", "-t", "5"];
    cgset(&["net.out", "8mbit", "-g", &name]).ok();
    let told = iperf3(&["-g", &name], port() + 8, &options);
    let sum = &told["end"]["sum"];
    let rate = sum["bits_per_second"].as_f64().expect("a number") / 1e6;
    let lost = sum["lost_percent"].as_f64().expect("a number");
    assert!((7.0..8.4).contains(&rate) && lost < 2.0, "{rate} Mbit/s, {lost} % lost");
    let shown = cgset(&["show", &name]).ok();
    assert!(shown.contains("net.out.dropped 0 packets\n"), "{shown}");
    Ok(())
}

pub fn rates_are_shown_changed_and_taken_back() -> Test {
    need_v2()?;
    let name = Name::new("net");
    let path = cgset(&["net", "8mbit", "-g", &name]).silent();
    assert_eq!(name.groups().len(), 1, "{path}");
    let shown = cgset(&["show", &name]).silent();
    for line in ["net.in.limit 8mbit\n", "net.out.limit 8mbit\n", "net.out.dropped 0 packets\n"] {
        assert!(shown.contains(line), "{shown}");
    }
    cgset(&["net.out", "1.5MB/s", "net.in", "max", "-g", &name]).silent();
    let shown = cgset(&["show", &name]).silent();
    assert!(shown.contains("net.out.limit 12mbit\n") && shown.contains("net.in.limit max\n"));
    let json: Value =
        serde_json::from_str(&cgset(&["show", "--json", &name]).silent()).expect("JSON");
    assert_eq!(
        (&json["net"]["out"]["bytes"], &json["net"]["in"]["bytes"]),
        (&1_500_000.into(), &Value::Null)
    );
    assert_eq!(json["net"]["in"]["dropped_packets"], 0);
    // Nobody is limited who has asked for no limit.
    let free = Name::new("free");
    cgset(&["net", "max", "-g", &free]).silent();
    assert!(!cgset(&["show", &free]).silent().contains("net."));
    assert_eq!(cgset(&["rm", &name, &free]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn a_socket_of_before_is_noted() -> Test {
    need_v2()?;
    need_program("busybox")?;
    for limit in [["net", "8mbit"], ["net.deny", "192.0.2.1"]] {
        a_socket_is_noted(limit);
    }
    Ok(())
}

fn a_socket_is_noted([key, value]: [&str; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("it has one").port().to_string();
    let mut client = Command::new("busybox");
    client.args(["nc", "127.0.0.1", &port]).stdin(Stdio::piped());
    let mut client = client.spawn().expect("it starts");
    let accepted = listener.accept().expect("it connects");
    let name = Name::of(client.id());
    let ran = cgset(&[key, value, &client.id().to_string()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("has 1 socket already, for which the limit"), "{ran:?}");
    drop(accepted);
    let _ = client.kill();
    let _ = client.wait();
    drop(name);
}

pub fn without_v2_it_says_how_to_mount_it() -> Test {
    need_root()?;
    if need_v2().is_ok() {
        return Err(skip("there is a v2 tree here"));
    }
    assert!(!trees().is_empty());
    let parts = ["no cgroup v2 is mounted here", "hint: it can be beside v1: mount -t cgroup2"];
    cgset(&["net", "8mbit", "-g", "never-made"]).fails(1, "cgset", &parts);
    cgset(&["net", "8mbit", "--", "true"]).fails(125, "cgset", &parts);
    Ok(())
}

pub fn each_call_that_fails_leaves_no_program() -> Test {
    need_v2()?;
    let kept = Name::new("kept");
    cgset(&["net", "8mbit", "-g", &kept]).silent();
    let mut failures = 0;
    for nth in 1.. {
        let old = cgset(&["show", &kept]).silent();
        let change = ["net.in", "16mbit", "net.out", "max", "-g", &*kept];
        let changed = failing("bpf:error=EPERM", nth, &change)?;
        if changed.status == 0 {
            break;
        }
        changed.fails(1, "cgset", &["(EPERM)"]);
        assert_eq!(cgset(&["show", &kept]).silent(), old, "{nth}: {changed:?}");
        failures += 1;
    }
    for nth in 1.. {
        let name = Name::new("failing");
        let made = failing("bpf:error=EPERM", nth, &["net", "8mbit", "-g", &name])?;
        if made.status == 0 {
            break;
        }
        made.fails(1, "cgset", &["net.", "(EPERM)", "hint: that takes CAP_BPF"]);
        assert!(groups_called(&name).is_empty(), "{nth}");
        failures += 1;
    }
    assert!(failures > 15, "programs are loaded, attached and looked at: {failures}");
    Ok(())
}
