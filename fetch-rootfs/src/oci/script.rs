//! What classic commands do the same for an image.

use std::path::{Path, PathBuf};

use common::shell;

use super::reference::Reference;
use super::{Choice, Format};

/// skopeo(1) copies an image from wherever it is into a layout, umoci(1) unpacks it.
pub fn image(
    from: &str,
    choice: &Choice,
    unfinished: &Path,
    root: &str,
    privileged: bool,
) -> String {
    let option = |name: &str, value: &str| match value {
        "" => String::new(),
        value => format!(" --override-{name} {}", shell::word(value)),
    };
    let asked = choice.platform.clone().unwrap_or_default();
    let skopeo = [
        "skopeo --insecure-policy".into(),
        option("os", &asked.os),
        option("arch", &asked.architecture),
        option("variant", &asked.variant.unwrap_or_default()),
    ]
    .concat();
    let layout = shell::operand(unfinished.join("image"));
    let unpack = unpack(&layout, root, privileged);
    format!("{skopeo} copy --quiet {from} oci:{layout}:image; {unpack}")
}

/// How skopeo calls an image in a registry.
pub fn remote(reference: &Reference, plain_http: bool, retries: u32) -> String {
    let http = plain_http || reference.is_loopback();
    let option = if http { "--src-tls-verify=false " } else { "" };
    format!("--retry-times {retries} {option}{}", shell::word(format!("docker://{reference}")))
}

/// Files of the cache, the manifest first, become what skopeo calls a dir; and what makes them so.
pub fn cached(files: &[PathBuf], folder: &Path) -> (String, String) {
    let words: Vec<String> = files.iter().skip(1).map(shell::operand).collect();
    let to = shell::operand(folder);
    let manifest = files.first().map(shell::operand).unwrap_or_default();
    let make =
        format!("mkdir {to}; cp {} {to}; cp {manifest} {to}/manifest.json; ", words.join(" "));
    (make, format!("dir:{to}"))
}

/// What skopeo calls an image's form, if it is an image.
pub fn transport(format: Format) -> Option<&'static str> {
    match format {
        Format::Layout => Some("oci"),
        Format::LayoutArchive => Some("oci-archive"),
        Format::Saved => Some("docker-archive"),
        Format::Other => None,
    }
}

/// What was meant by a path that is not there: perhaps what skopeo calls so, or docker.
pub fn meant(path: &Path) -> String {
    let text = path.to_string_lossy();
    let (form, rest) = text.split_once(':').unwrap_or_default();
    let host = text.split('/').next().unwrap_or_default();
    let in_full =
        !text.starts_with('.') && (host.contains('.') && host != text || text.contains(':'));
    match form {
        "docker" => {
            format!("an image in a registry is docker://{}", rest.trim_start_matches('/'))
        }
        "docker-daemon" => format!("docker save {} | fetch-rootfs - DIR", shell::word(rest)),
        "containers-storage" => format!("podman save {} | fetch-rootfs - DIR", shell::word(rest)),
        "http" | "https" => "a URL is as https://HOST/PATH".into(),
        "oci" | "oci-archive" | "docker-archive" | "file" => {
            let (place, name) = rest.split_once(':').unwrap_or((rest, ""));
            let image = match name {
                "" => String::new(),
                name => format!("--image {} ", shell::word(name)),
            };
            let place = shell::operand(place);
            format!("what is on this machine is told by its path alone: {image}{place}")
        }
        _ if in_full && Reference::parse(&text).is_ok() => {
            format!("an image in a registry is docker://{text}; a URL begins with https://")
        }
        _ => "nor is it a name of the catalogue, which fetch-rootfs --list prints".into(),
    }
}

/// How skopeo calls an image that is a file or a folder.
pub fn local(transport: &str, path: &Path, choice: &Choice) -> String {
    let name = choice.image.as_ref().map(|name| format!(":{}", shell::word(name)));
    format!("{transport}:{}{}", shell::operand(path), name.unwrap_or_default())
}

/// Layers become an image first: tar(1) would follow the links of a lower layer, out of the root.
pub fn layers(layers: &[PathBuf], unfinished: &Path, root: &str, privileged: bool) -> String {
    let files: Vec<String> = layers.iter().map(shell::operand).collect();
    let layout = shell::operand(unfinished.join("image"));
    let plain = shell::operand(unfinished.join("layer.tar"));
    format!(
        "umoci init --layout {layout}; umoci new --image {layout}:image
for layer in {}; do
    zstd --decompress --stdout --force \"$layer\" >{plain}
    umoci raw add-layer --image {layout}:image {plain}
done
{}",
        files.join(" "),
        unpack(&layout, root, privileged)
    )
}

fn unpack(layout: &str, root: &str, privileged: bool) -> String {
    let rootless = if privileged { "" } else { " --rootless" };
    format!("umoci --log error raw unpack{rootless} --image {layout}:image {root}")
}
