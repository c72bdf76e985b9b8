//! From the request to the steps. Looks at what is there; changes nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::{Failure, inroot};

use crate::cli::{Request, Spec};
use crate::options::{Options, Propagation};
use crate::place::Place;
use crate::resolver::{self, Found};
use crate::step::Step;
use crate::table;

/// What bindmount will do. `--list` has no steps, and does not come here.
pub fn plan(request: Request, mkdir: bool, command: Vec<OsString>) -> Result<Vec<Step>, Failure> {
    let mut steps = match request {
        Request::Bind(Spec { src, dst, options }) => {
            let place = Place::Host(dst);
            let mut steps = make(mkdir, &src, &place);
            steps.push(Step::Bind { src, place, options });
            steps
        }
        Request::Std { rootfs, binds } => std(&rootfs, binds, mkdir)?,
        Request::Unmount { target, recursive, lazy } => table::to_unmount(&target, recursive)?
            .into_iter()
            .map(|target| Step::Unmount { target, lazy })
            .collect(),
        Request::List { .. } => Vec::new(),
    };
    if !command.is_empty() {
        steps.push(Step::Exec(command));
    }
    Ok(steps)
}

/// The step that makes the mount point, of the kind that the source is.
fn make(mkdir: bool, src: &Path, place: &Place) -> Vec<Step> {
    let folder = !src.is_file();
    mkdir.then(|| Step::Make { place: place.clone(), folder }).into_iter().collect()
}

fn std(rootfs: &Path, binds: Vec<Spec>, mkdir: bool) -> Result<Vec<Step>, Failure> {
    drop(inroot::open_root(rootfs)?);
    let place = |path: &str| Place::In { rootfs: rootfs.to_owned(), path: path.into() };
    let make_folder = |path: &str| make(mkdir, Path::new("/"), &place(path));

    let mut steps = make_folder("dev");
    steps.push(Step::Bind { src: "/dev".into(), place: place("dev"), options: dev() });
    steps.extend(make_folder("proc"));
    steps.push(Step::Proc(place("proc")));
    steps.extend(make_folder("sys"));
    steps.push(Step::Bind { src: "/sys".into(), place: place("sys"), options: sys() });
    if let Some(file) = resolver::of_the_machine() {
        match resolver::look(rootfs)? {
            Found::File => steps.push(Step::Bind {
                src: file,
                place: place("etc/resolv.conf"),
                options: Options { propagation: None, recursive: false, ..sys() },
            }),
            Found::NoFile => steps.push(Step::Resolver { file, etc: place("etc") }),
            Found::NoFolder => {}
        }
    }
    for Spec { src, dst, options } in binds {
        let place = Place::In { rootfs: rootfs.to_owned(), path: PathBuf::from(&dst) };
        steps.extend(make(mkdir, &src, &place));
        steps.push(Step::Bind { src, place, options });
    }
    Ok(steps)
}

/// Everything below comes along (/dev/pts, /dev/shm); an unmount inside must not reach the machine.
fn dev() -> Options {
    Options { recursive: true, propagation: Some(Propagation::SLAVE), ..Options::default() }
}

/// To look at, not to change the machine by.
fn sys() -> Options {
    Options { read_only: true, nosuid: true, nodev: true, noexec: true, ..dev() }
}
