//! Runs a program with these entries as its environment, be they variables or not:
//! `given ENTRY... -- PROGRAM [ARG]...`

use std::ffi::{CString, c_char, c_int};
use std::io::Error;
use std::os::unix::ffi::OsStringExt;
use std::ptr;

unsafe extern "C" {
    fn execve(
        path: *const c_char,
        words: *const *const c_char,
        entries: *const *const c_char,
    ) -> c_int;
}

fn main() {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| CString::new(word.into_vec()).expect("a word has no NUL"));
    let words: Vec<CString> = words.collect();
    let middle = words.iter().position(|word| word.as_bytes() == b"--").expect("a --");
    let list = |words: &[CString]| -> Vec<*const c_char> {
        words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
    };
    let (entries, command) = (list(&words[..middle]), list(&words[middle + 1..]));
    // SAFETY: both lists end with a null pointer, and what they point to outlives the call.
    unsafe { execve(command[0], command.as_ptr(), entries.as_ptr()) };
    panic!("run {:?}: {}", words[middle + 1], Error::last_os_error());
}
