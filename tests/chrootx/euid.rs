//! Prints whose rights it has.

unsafe extern "C" {
    safe fn geteuid() -> u32;
}

fn main() {
    println!("{}", geteuid());
}
