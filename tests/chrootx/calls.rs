//! Makes some system calls and prints what the kernel answers; then a thread and a process.

use std::io::Error;
use std::process::Command;
use std::thread;

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

fn said(number: i64, arguments: [i64; 3]) -> String {
    let [a, b, c] = arguments;
    // SAFETY: no argument is an address that is there.
    match unsafe { syscall(number, a, b, c) } {
        -1 => Error::last_os_error().raw_os_error().map_or("?".into(), |errno| errno.to_string()),
        _ => "0".into(),
    }
}

fn main() {
    for call in std::env::args().skip(1) {
        let mut words = call.split(',').map(|word| word.parse().expect("numbers"));
        let number = words.next().expect("the number of a call");
        let mut next = || words.next().unwrap_or(0);
        println!("{call}: {}", said(number, [next(), next(), next()]));
    }
    let thread = thread::spawn(|| 7).join().expect("a thread");
    let process = Command::new("/bin/true").status().expect("a process");
    println!("thread {thread}, {process}");
}
