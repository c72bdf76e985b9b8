//! Makes system calls as programs of 32 bits do, and prints what the kernel answers.

use std::arch::asm;

fn said(number: u32, first: u32) -> u32 {
    let mut answer = number;
    // SAFETY: no argument is an address that is there. The compiler keeps rbx for itself.
    unsafe {
        asm!("xchg rbx, {first}", "int 0x80", "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inout("eax") answer, in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    // What is no error may be an address, of any sign.
    let errno = answer.wrapping_neg();
    if errno < 4096 { errno } else { 0 }
}

fn main() {
    for call in std::env::args().skip(1) {
        let (number, first) = call.split_once(',').expect("a number and an argument");
        let word = |text: &str| text.parse().expect("a number");
        println!("{call}: {}", said(word(number), word(first)));
    }
}
