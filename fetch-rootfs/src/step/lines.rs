//! Extracting and listing, as a script does it.

use common::shell;

use super::{Content, Tree};
use crate::cli::Owner;
use crate::oci::{Format, script};
use crate::transfer::Transfer;

/// The name of a device node in the list that tar(1) makes for people; as a pattern for bsdtar.
const TAR_NAME: &str = "'/^[bc]/!d; s/^[^ ]* [^ ]* *[0-9]*,[0-9]* [^ ]* [^ ]* //'";
const BSDTAR_NAME: &str = concat!(
    "'/^[bc]/!d; s/^[^ ]*  *[^ ]* *[^ ]* *[^ ]* *[0-9]*,[0-9]* [^ ]* *[^ ]* *[^ ]* //; ",
    r"s/[]*?[\\]/\\&/g; s/^/^/'"
);

impl Tree {
    /// Makes the tree.
    pub fn line(&self, content: &Content) -> String {
        let (rules, root) = (&self.rules, self.root());
        let mut commands = vec![self.filled(content, &root)];
        if !self.keeps_owners() {
            commands.push(format!("find {root} -perm /6000 -exec chmod ug-s {{}} +"));
        }
        if rules.skip_devices && self.makes_devices() {
            commands.push(format!("find {root} '(' -type b -o -type c ')' -exec rm {{}} +"));
        }
        commands.join("; ")
    }

    fn root(&self) -> String {
        shell::operand(self.unfinished.join("root"))
    }

    fn filled(&self, content: &Content, root: &str) -> String {
        let Self { unfinished, rules, privileged } = self;
        let image = |from: &str| {
            self.chosen(root, |root| {
                script::image(from, &rules.choice, unfinished, root, *privileged)
            })
        };
        match content {
            Content::Archive { archive, format } => match format.and_then(script::transport) {
                None => self.tar_line(*format, &shell::operand(archive), root),
                Some(transport) => image(&script::local(transport, archive, &rules.choice)),
            },
            Content::Image { reference, transfer, cached } if cached.is_empty() => {
                image(&script::remote(reference, rules.plain_http, transfer.retries))
            }
            Content::Image { cached, .. } => {
                let (before, from) = script::cached(cached, &unfinished.join("files"));
                before + &image(&from)
            }
            Content::Layers(layers) => {
                self.chosen(root, |root| script::layers(layers, unfinished, root, *privileged))
            }
        }
    }

    /// umoci(1) unpacks the whole of an image. Where names are chosen, tar(1) takes them from there.
    fn chosen(&self, root: &str, unpacked: impl Fn(&str) -> String) -> String {
        let options = self.rules.names.options();
        if options.is_empty() {
            return unpacked(root);
        }
        let whole = shell::operand(self.unfinished.join("whole"));
        let archive = shell::operand(self.unfinished.join("archive"));
        let all = "--numeric-owner --xattrs --xattrs-include='*' --acls";
        format!(
            "mkdir {whole}; {}; find {whole} -mindepth 1 -maxdepth 1 -printf '%P\\0' | \
             tar --create --file {archive} --directory {whole} {all} --null --files-from=-; \
             tar --extract --file {archive} --directory {root} --preserve-permissions {all}{options}",
            unpacked(&whole)
        )
    }

    /// Tells the names in it: of an archive as they come, of layers when they are a tree.
    pub fn list_line(&self, content: &Content, hold: bool) -> String {
        let line = match content {
            Content::Archive { archive, format } if !is_image(*format) => {
                let tar = if format.is_some() { "bsdtar" } else { "tar" };
                let (file, options) = (shell::operand(archive), self.rules.names.options());
                format!("{tar} --list --file {file}{options}")
            }
            _ => {
                let names = "'(' -type d -printf '%P/\\n' -o -printf '%P\\n' ')' | LC_ALL=C sort";
                format!("{}; find {} -mindepth 1 {names}", self.line(content), self.root())
            }
        };
        match hold {
            true => format!("{line} >{}", shell::operand(self.unfinished.join("list"))),
            false => line,
        }
    }

    /// Whether the files are to belong to whom the archive says.
    fn keeps_owners(&self) -> bool {
        self.privileged && self.rules.owner != Owner::Me
    }

    /// Whether the kernel makes device nodes for us.
    fn makes_devices(&self) -> bool {
        self.privileged && self.rules.owner != Owner::Map
    }

    /// libarchive's tar(1) reads more than GNU's.
    fn tar_line(&self, format: Option<Format>, archive: &str, root: &str) -> String {
        let (tar, xattrs) = match format {
            None => ("tar", "--xattrs --xattrs-include='*'"),
            Some(_) => ("bsdtar", "--xattrs"),
        };
        let owner = if self.keeps_owners() { "--same-owner" } else { "--no-same-owner" };
        let (before, except) = match self.makes_devices() {
            true => (String::new(), String::new()),
            false => self.without_devices(tar, archive),
        };
        format!(
            "{before}{tar} --extract --file {archive} --directory {root} --preserve-permissions \
             --numeric-owner {owner} {xattrs} --acls{}{except}",
            self.rules.names.options()
        )
    }

    /// tar(1) fails where it can't make a device node: it is told to leave out those that it lists,
    /// of which a person, too, is told.
    fn without_devices(&self, tar: &str, archive: &str) -> (String, String) {
        let devices = shell::operand(self.unfinished.join("devices"));
        let list = format!("LC_ALL=C {tar} --list --verbose --numeric-owner --file {archive}");
        let told = match self.rules.skip_devices {
            true => format!(">{devices}"),
            false => format!("| tee {devices} >&2"),
        };
        match tar {
            "tar" => (
                format!("{list} --quoting-style=literal | sed {TAR_NAME} {told}\n"),
                format!(" --anchored --no-wildcards --exclude-from={devices}"),
            ),
            _ => (format!("{list} | sed {BSDTAR_NAME} {told}\n"), format!(" -X {devices}")),
        }
    }
}

impl Content {
    /// Where a tree is made of it.
    pub fn why(&self) -> String {
        match self {
            Self::Archive { format: None, .. } => {
                "owners by number, exact modes, all attributes; tar(1)"
            }
            Self::Archive { format: Some(Format::Other), .. } => {
                "owners by number, exact modes, all attributes; bsdtar(1)"
            }
            Self::Image { transfer: Transfer { cache: Some(cache), .. }, cached, .. }
                if cached.is_empty() =>
            {
                return format!(
                    "its layers, one on top of the other; fetch-rootfs keeps copies in {cache:?}; \
                     skopeo(1), umoci(1)"
                );
            }
            Self::Image { .. } | Self::Archive { .. } => {
                "its layers, one on top of the other; skopeo(1), umoci(1)"
            }
            Self::Layers(_) => "one on top of the other; zstd(1), umoci(1)",
        }
        .into()
    }
}

/// Whether it is an image.
pub fn is_image(format: Option<Format>) -> bool {
    format.and_then(script::transport).is_some()
}
