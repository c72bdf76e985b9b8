//! Tar archives made byte by byte, so that they can say what no tar program would write.

/// An archive that is being written.
#[derive(Clone, Default)]
pub struct Archive(Vec<u8>);

/// A header's fields; the rest is fixed.
pub struct Head<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub size: u64,
    pub device: (u32, u32),
}

impl<'a> Head<'a> {
    pub fn new(kind: u8, name: &'a str) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self { name: name.as_bytes(), kind, link: b"", mode, size: 0, device: (0, 0) }
    }
}

/// The 512 bytes of a header, with its right checksum.
pub fn block(head: &Head) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &head.name[..head.name.len().min(100)]);
    put(100, format!("{:07o}", head.mode).as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", head.size).as_bytes());
    put(136, b"13000000000");
    put(148, b"        ");
    put(156, &[head.kind]);
    put(157, &head.link[..head.link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", head.device.0).as_bytes());
    put(337, format!("{:07o}", head.device.1).as_bytes());
    sum(&mut block);
    block
}

/// Writes the checksum of what is there.
pub fn sum(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Archive {
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn head(self, head: &Head) -> Self {
        self.raw(&block(head))
    }

    pub fn with_data(self, kind: u8, name: &str, data: &[u8]) -> Self {
        let head = Head { size: data.len() as u64, ..Head::new(kind, name) };
        let padding = data.len().next_multiple_of(512) - data.len();
        self.head(&head).raw(data).raw(&vec![0; padding])
    }

    pub fn file(self, name: &str, data: &str) -> Self {
        self.with_data(b'0', name, data.as_bytes())
    }

    pub fn folder(self, name: &str) -> Self {
        self.head(&Head::new(b'5', name))
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.head(&Head { link: target.as_bytes(), ..Head::new(b'2', name) })
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.head(&Head { link: target.as_bytes(), ..Head::new(b'1', name) })
    }

    pub fn device(self, name: &str, major: u32, minor: u32) -> Self {
        self.head(&Head { device: (major, minor), ..Head::new(b'3', name) })
    }

    /// The next entry's name, as GNU writes a long one.
    pub fn long_name(self, name: &str) -> Self {
        self.with_data(b'L', "././@LongLink", format!("{name}\0").as_bytes())
    }

    /// An extended header for the next entry; its records as they stand.
    pub fn pax(self, records: &[u8]) -> Self {
        self.with_data(b'x', "PaxHeaders/x", records)
    }

    /// The two blocks that end an archive.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 1024]).0
    }

    /// Without them.
    pub fn unfinished(self) -> Vec<u8> {
        self.0
    }
}
