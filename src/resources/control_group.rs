//! The memory that the process may have as a member of its control groups, version 1 and 2: that of its own group and
//! of all above it.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where control groups are mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// What this process belongs to.
pub const MEMBERSHIP: &str = "/proc/self/cgroup";

/// Files that hold a limit in bytes, or a word for none.
const LIMITS_V2: [&str; 2] = ["memory.max", "memory.high"];
const LIMITS_V1: [&str; 1] = ["memory.limit_in_bytes"];

/// The smallest limit of the groups that `membership` names, as /proc gives them, under where they are mounted.
///
/// Inside a container the mount may begin at the group itself while the names are those of the machine: so names that
/// are not there are passed over, and the mount's own limit always counts.
pub fn memory_limit(membership: &str, mount: &Path) -> Option<u64> {
    let groups = membership.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_memory = controllers.split(',').any(|controller| controller == "memory");
        (is_memory || controllers.is_empty()).then_some((is_memory, path))
    });
    groups
        .flat_map(|(is_v1, path)| {
            let (root, files) = if is_v1 {
                (mount.join("memory"), &LIMITS_V1[..])
            } else {
                (mount.to_owned(), &LIMITS_V2[..])
            };
            let below: Vec<_> = Path::new(path)
                .components()
                .filter(|part| matches!(part, Component::Normal(_)))
                .collect();
            (0..=below.len()).flat_map(move |depth| {
                let group = root.join(below[..depth].iter().collect::<PathBuf>());
                files.iter().map(move |file| group.join(file))
            })
        })
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// What the process belongs to, files under the mount, and the limit.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<u64>);

    fn mounted(files: &[(&str, &str)]) -> TempDir {
        let mount = TempDir::new().unwrap();
        for (path, text) in files {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        mount
    }

    #[test]
    fn the_smallest_limit_of_the_group_and_of_those_above_counts() {
        let v2 = "0::/system.slice/leveret.service\n";
        let v1 = "4:cpu,memory:/docker/abc\n2:cpuset:/\n0::/\n";
        let rows: [Row<'_>; 8] = [
            (
                v2,
                &[("system.slice/leveret.service/memory.max", "1000\n")],
                Some(1000),
            ),
            (v2, &[("system.slice/leveret.service/memory.max", "max\n")], None),
            (
                v2,
                &[
                    ("system.slice/leveret.service/memory.max", "max\n"),
                    ("system.slice/memory.high", "500\n"),
                    ("system.slice/memory.max", "700\n"),
                ],
                Some(500),
            ),
            (v2, &[("system.slice/other.service/memory.max", "10\n")], None),
            ("0::/\n", &[("memory.max", "300\n")], Some(300)),
            (
                v1,
                &[("memory/docker/abc/memory.limit_in_bytes", "2000\n")],
                Some(2000),
            ),
            // The names are those of the machine, the mount is the container's.
            (
                v1,
                &[
                    ("memory/memory.limit_in_bytes", "3000\n"),
                    ("memory.max", "10000\n"),
                ],
                Some(3000),
            ),
            ("", &[("memory.max", "300\n")], None),
        ];
        for (membership, files, limit) in rows {
            let mount = mounted(files);
            assert_eq!(
                memory_limit(membership, mount.path()),
                limit,
                "{membership} {files:?}"
            );
        }
    }
}
