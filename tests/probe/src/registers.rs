//! The system call that a traced process is at, in the registers of this kind of machine.

use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::unistd::Pid;

pub struct Call {
    pid: Pid,
    registers: user_regs_struct,
}

impl Call {
    pub fn of(pid: Pid) -> nix::Result<Self> {
        Ok(Self { pid, registers: ptrace::getregs(pid)? })
    }
}

#[cfg(target_arch = "x86_64")]
impl Call {
    /// Which it is, at its beginning.
    pub fn number(&self) -> i64 {
        self.registers.orig_rax.cast_signed()
    }

    /// Its second argument.
    pub fn second(&self) -> u64 {
        self.registers.rsi
    }

    /// Has nothing done, at its beginning.
    pub fn skip(mut self) -> nix::Result<()> {
        self.registers.orig_rax = u64::MAX;
        ptrace::setregs(self.pid, self.registers)
    }

    /// Has it end with an error, at its end.
    pub fn fail(mut self, errno: Errno) -> nix::Result<()> {
        self.registers.rax = (-(errno as i64)).cast_unsigned();
        ptrace::setregs(self.pid, self.registers)
    }
}

#[cfg(target_arch = "aarch64")]
impl Call {
    /// Which it is, at its beginning.
    pub fn number(&self) -> i64 {
        self.registers.regs[8].cast_signed()
    }

    /// Its second argument.
    pub fn second(&self) -> u64 {
        self.registers.regs[1]
    }

    /// Has nothing done, at its beginning: the kernel has read the register already.
    pub fn skip(self) -> nix::Result<()> {
        crate::sys::set_call(self.pid, -1)
    }

    /// Has it end with an error, at its end.
    pub fn fail(mut self, errno: Errno) -> nix::Result<()> {
        self.registers.regs[0] = (-(errno as i64)).cast_unsigned();
        ptrace::setregs(self.pid, self.registers)
    }
}
