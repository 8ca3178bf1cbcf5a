//! One file from one address, however often the line breaks.
//!
//! What has arrived lies in `NAME.regraft-incomplete` beside the file, and what the server called that content (its entity tag
//! or date) in `NAME.regraft-incomplete.tag`. A later request asks for the rest on the condition that the tag still holds
//! (RFC 9110, `Range` with `If-Range`), so that two versions of a file are never joined. Without a tag the file begins anew,
//! unless its whole SHA-256 is known and decides at the end.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regraft_system::partial::{Lock, PartialFile};
use regraft_system::{files, hash};

use crate::client::{Answer, Request};
use crate::session::{Session, Watch};
use crate::{HubError, Token, address};

/// What is published about a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// Length in bytes.
    pub size: Option<u64>,
    /// SHA-256 in hexadecimal digits, or its first eight or more, as torchvision has them in the names of its files.
    pub sha256: Option<&'a str>,
    /// SHA-1 in hexadecimal digits, as the Caffe Model Zoo has it.
    pub sha1: Option<&'a str>,
}

impl Expected<'_> {
    /// Whether a content that fits can be no other than the one that was published.
    fn has_whole_hash(&self) -> bool {
        self.sha1.is_some_and(|hash| hash.len() == 40) || self.sha256.is_some_and(|hash| hash.len() == 64)
    }
}

/// Fetches a file that everybody may have.
///
/// Two runs that fetch one file wait for each other; what is there already is not fetched.
///
/// # Errors
/// The network is forbidden or fails, the server refuses, or the content is not what was expected. What has arrived is kept,
/// unless it is wrong.
pub fn fetch(
    session: &Session,
    address: &str,
    destination: &Path,
    expected: Expected<'_>,
    watch: &dyn Watch,
) -> Result<(), HubError> {
    let name = file_name(destination);
    session.check_online(&name)?;
    check_trust(address, &expected)?;
    let lock = &with_ending(destination, ".lock");
    transfer(session, &Transfer { name: &name, address, token: None, expected, destination, lock }, watch)
}

/// What comes over a line that anybody can write to needs a whole hash: the beginning of one can be forged. This machine
/// itself is trusted.
fn check_trust(address: &str, expected: &Expected<'_>) -> Result<(), HubError> {
    let (_, origin) = address::parse(address)?;
    if origin.is_private() || expected.has_whole_hash() {
        return Ok(());
    }
    let reason = "is not a secure address, and no whole hash of the file is known; use https://";
    Err(HubError::Name { name: address::shown(address), reason })
}

/// A file on its way.
pub(crate) struct Transfer<'a> {
    pub(crate) name: &'a str,
    pub(crate) address: &'a str,
    pub(crate) token: Option<&'a Token>,
    pub(crate) expected: Expected<'a>,
    pub(crate) destination: &'a Path,
    pub(crate) lock: &'a Path,
}

/// No model is larger; a length beyond this is a lie or a mistake.
const LARGEST_FILE: u64 = 1 << 37;
const PIECE: usize = 1 << 16;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const PARTIAL: &str = ".regraft-incomplete";

pub(crate) fn transfer(session: &Session, wanted: &Transfer<'_>, watch: &dyn Watch) -> Result<(), HubError> {
    let _lock = wait_for_lock(wanted.lock, wanted.name, watch)?;
    if wanted.destination.exists() {
        let Err(error) = check_content(wanted.destination, wanted.address, wanted.expected) else {
            return Ok(());
        };
        watch.message(&format!("{error}; fetching it anew"));
        files::remove_if_there(wanted.destination)?;
    }
    let mut partial = PartialFile::open(&with_ending(wanted.destination, PARTIAL))?;
    if !wanted.can_go_on(&partial) {
        partial.clear()?;
    }
    let resumed = partial.length() > 0;
    receive_all(session, wanted, &mut partial, watch)?;
    let mut checked = check_content(partial.path(), wanted.address, wanted.expected);
    if checked.is_err() && resumed {
        watch.message(&format!("{}: what an earlier run left does not fit, fetching it anew", wanted.name));
        partial.clear()?;
        receive_all(session, wanted, &mut partial, watch)?;
        checked = check_content(partial.path(), wanted.address, wanted.expected);
    }
    if checked.is_err() {
        partial.clear()?;
    }
    checked?;
    partial.finish(wanted.destination)?;
    files::remove_if_there(&wanted.tag_path())?;
    Ok(())
}

impl Transfer<'_> {
    fn tag_path(&self) -> PathBuf {
        with_ending(self.destination, &format!("{PARTIAL}.tag"))
    }

    /// What the server called the content of which the beginning is here.
    fn tag(&self) -> Option<String> {
        let text = String::from_utf8(files::read(&self.tag_path()).ok()?).ok()?;
        Some(text).filter(|tag| !tag.is_empty() && tag.chars().all(|c| c == ' ' || c.is_ascii_graphic()))
    }

    fn can_go_on(&self, partial: &PartialFile) -> bool {
        let fits = self.expected.size.is_none_or(|size| partial.length() <= size);
        fits && (self.expected.has_whole_hash() || self.tag().is_some())
    }
}

/// Takes a lock, waiting for whoever has it; `name` is what is locked, for the message that says so.
///
/// # Errors
/// The file of the lock cannot be made, or the user asks to stop.
pub fn wait_for_lock(path: &Path, name: &str, watch: &dyn Watch) -> Result<Lock, HubError> {
    let mut told = false;
    loop {
        if let Some(lock) = Lock::try_take(path)? {
            return Ok(lock);
        }
        if !told {
            watch.message(&format!("{name}: another run is fetching it; waiting"));
            told = true;
        }
        sleep(Duration::from_millis(200), watch)?;
    }
}

/// What is done again after a failure that may pass, and how often yet.
pub(crate) struct Patience<'a> {
    session: &'a Session,
    watch: &'a dyn Watch,
    failures: u32,
    asked_for: Option<Duration>,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(session: &'a Session, watch: &'a dyn Watch) -> Self {
        Self { session, watch, failures: 0, asked_for: None }
    }

    /// How long the server wants to be left alone.
    pub(crate) fn listen(&mut self, answer: &Answer) {
        self.asked_for = answer.number("retry-after").map(Duration::from_secs);
    }

    /// Waits before the next attempt; gives the error back if there is no sense in one.
    pub(crate) fn wait(&mut self, error: HubError) -> Result<(), HubError> {
        let settings = &self.session.settings;
        // Who has answered before is not out of reach for ever.
        let is_gone = matches!(error, HubError::Unreachable { .. }) && self.session.client.has_answered();
        if !(error.is_passing() || is_gone) || self.failures >= settings.retries {
            return Err(error);
        }
        let pause = settings.pause.saturating_mul(1 << self.failures.min(10));
        let longest = LONGEST_PAUSE.max(pause);
        let pause = self.asked_for.take().map_or(pause, |asked_for| asked_for.clamp(pause, longest));
        self.failures += 1;
        self.watch.message(&format!("{error}; trying again in {:.0} s", pause.as_secs_f64()));
        sleep(pause, self.watch)
    }
}

/// Goes on until the file is whole; a failure that may pass is waited out, and progress resets the patience.
fn receive_all(
    session: &Session,
    wanted: &Transfer<'_>,
    partial: &mut PartialFile,
    watch: &dyn Watch,
) -> Result<(), HubError> {
    let mut patience = Patience::new(session, watch);
    while wanted.expected.size.is_none_or(|size| partial.length() != size || size == 0) {
        let before = partial.length();
        let received = receive(wanted, partial, &mut patience);
        if partial.length() > before {
            patience.failures = 0;
        }
        match received {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => patience.wait(error)?,
        }
    }
    Ok(())
}

/// Whether the file is whole now; a server may send less of it at a time than it was asked for.
fn receive(
    wanted: &Transfer<'_>,
    partial: &mut PartialFile,
    patience: &mut Patience<'_>,
) -> Result<bool, HubError> {
    let here = partial.length();
    let mut headers = Vec::new();
    if here > 0 {
        headers.push(("Range", format!("bytes={here}-")));
        headers.extend(wanted.tag().map(|tag| ("If-Range", tag)));
    }
    let request = Request {
        address: wanted.address,
        head: false,
        headers: &headers,
        token: wanted.token,
        leave_server: true,
    };
    let answer = patience.session.client.send(&request)?;
    patience.listen(&answer);
    match begin(wanted, partial, &answer)? {
        Start::Whole => return Ok(true),
        Start::Anew => {
            partial.clear()?;
            remember_tag(wanted, &answer)?;
        }
        Start::Rest => {}
    }
    let end = answer.number("content-length").map(|rest| partial.length().saturating_add(rest));
    let total = whole_length(&answer).or(end);
    check_size(wanted, partial, total)?;
    let total = total.or(wanted.expected.size);
    patience.watch.begin(wanted.name, partial.length(), total);
    copy(wanted, partial, answer, total, patience.watch)?;
    if total.is_none_or(|total| partial.length() >= total) {
        return Ok(true);
    }
    if end == Some(partial.length()) && partial.length() > here {
        return Ok(false);
    }
    Err(cut(wanted, partial, total, "the server has stopped sending".to_owned()))
}

/// The length of a file of which a part is sent: what follows the `/` of `bytes 5-9/10`.
fn whole_length(answer: &Answer) -> Option<u64> {
    let range = answer.header("content-range").filter(|_| answer.status == 206)?;
    range.rsplit_once('/')?.1.trim().parse().ok()
}

fn cut(wanted: &Transfer<'_>, partial: &PartialFile, total: Option<u64>, reason: String) -> HubError {
    HubError::Cut { address: address::shown(wanted.address), received: partial.length(), total, reason }
}

enum Start {
    /// Everything is here already.
    Whole,
    /// What is here is not the beginning of what comes.
    Anew,
    /// What comes belongs behind what is here.
    Rest,
}

fn begin(wanted: &Transfer<'_>, partial: &mut PartialFile, answer: &Answer) -> Result<Start, HubError> {
    let nonsense = |message: &str| {
        Err(HubError::Protocol { address: address::shown(wanted.address), message: message.to_owned() })
    };
    let range = answer.header("content-range");
    match answer.status {
        206 if partial.length() > 0 => {
            let expected = format!("bytes {}-", partial.length());
            if range.is_some_and(|range| range.starts_with(&expected)) {
                return Ok(Start::Rest);
            }
            partial.clear()?;
            nonsense("the server sends another part of the file than it was asked for")
        }
        200 => match answer.header("content-encoding") {
            None | Some("identity") => Ok(Start::Anew),
            Some(_) => nonsense("the server sends the file compressed, though it was asked not to"),
        },
        416 if range == Some(format!("bytes */{}", partial.length()).as_str()) => Ok(Start::Whole),
        416 if partial.length() > 0 => {
            partial.clear()?;
            let reason = "the file on the server is shorter than what had arrived".to_owned();
            Err(cut(wanted, partial, None, reason))
        }
        _ => Err(refused(answer, wanted.token.is_some())),
    }
}

fn remember_tag(wanted: &Transfer<'_>, answer: &Answer) -> Result<(), HubError> {
    // A weak tag says that two contents mean the same, not that they are the same bytes.
    let strong = answer.header("etag").filter(|tag| tag.starts_with('"'));
    match strong.or_else(|| answer.header("last-modified")) {
        Some(tag) => files::write_atomically(&wanted.tag_path(), tag.as_bytes())?,
        None => files::remove_if_there(&wanted.tag_path())?,
    }
    Ok(())
}

/// Before a byte of it is stored: is the length that the server announces possible?
fn check_size(wanted: &Transfer<'_>, partial: &mut PartialFile, total: Option<u64>) -> Result<(), HubError> {
    let Some(found) = total else { return Ok(()) };
    let expected = match wanted.expected.size {
        Some(size) if size != found => size.to_string(),
        _ if found > LARGEST_FILE => format!("at most {LARGEST_FILE}"),
        _ => return Ok(()),
    };
    partial.clear()?;
    Err(HubError::Size { address: address::shown(wanted.address), expected, found })
}

fn copy(
    wanted: &Transfer<'_>,
    partial: &mut PartialFile,
    answer: Answer,
    total: Option<u64>,
    watch: &dyn Watch,
) -> Result<(), HubError> {
    let limit = total.unwrap_or(LARGEST_FILE).min(LARGEST_FILE);
    let mut body = answer.body.into_reader();
    let mut piece = vec![0; PIECE];
    loop {
        if watch.interrupted() {
            return Err(HubError::Interrupted);
        }
        let read = body.read(&mut piece).map_err(|error| cut(wanted, partial, total, error.to_string()))?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        if partial.length() + bytes.len() as u64 > limit {
            partial.clear()?;
            let (address, found) = (address::shown(wanted.address), limit + 1);
            return Err(HubError::Size { address, expected: limit.to_string(), found });
        }
        partial.append(bytes)?;
        watch.received(bytes.len() as u64);
    }
}

/// Compares a file with what is published about it.
///
/// # Errors
/// [`HubError::Size`], [`HubError::Checksum`], or the file cannot be read. `origin` stands in the message.
pub fn check_content(path: &Path, origin: &str, expected: Expected<'_>) -> Result<(), HubError> {
    let content = files::map(path)?;
    let (address, found) = (address::shown(origin), content.len() as u64);
    if let Some(size) = expected.size.filter(|size| *size != found) {
        return Err(HubError::Size { address, expected: size.to_string(), found });
    }
    let sha1 = expected.sha1.map(|hash| (hash, hash::sha1_hex(&content)));
    let sha256 = expected.sha256.map(|hash| (hash, hash::sha256_hex(&content)));
    for (expected, found) in sha1.into_iter().chain(sha256) {
        let expected = expected.to_ascii_lowercase();
        if !found.starts_with(&expected) {
            return Err(HubError::Checksum { address, expected, found });
        }
    }
    Ok(())
}

/// What a status means for somebody who wants a file.
pub(crate) fn refused(answer: &Answer, with_token: bool) -> HubError {
    let advice = match (answer.status, with_token) {
        (401, false) => {
            "it wants to know who asks, or there is no such model; log in with 'hf auth login' or set HF_TOKEN"
        }
        (401, true) => "it does not accept the token of HF_TOKEN or of 'hf auth login'; make a new one",
        (403, _) => {
            "you may not have this file; accept the model's terms on its page, and give a token that may read it \
             (HF_TOKEN, or 'hf auth login')"
        }
        (404 | 410, _) => "there is no such file, or it is private; check name and revision",
        (407, _) => "the proxy wants a name and a password: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT",
        (429, _) => "too many requests; wait some minutes, or log in, which allows more",
        (500..=599, _) => "it has a fault of its own; try again later",
        _ => "this is not what a file is answered with; is there a login page in between?",
    };
    let said = answer.header("x-error-message").map(|text| format!(" ({})", text.escape_default()));
    let advice = format!("{advice}{}", said.unwrap_or_default());
    HubError::Status { address: address::shown(&answer.address), status: answer.status, advice }
}

/// Sleeps, but not through an interruption.
fn sleep(duration: Duration, watch: &dyn Watch) -> Result<(), HubError> {
    let step = Duration::from_millis(100);
    let mut left = duration;
    while !left.is_zero() {
        if watch.interrupted() {
            return Err(HubError::Interrupted);
        }
        std::thread::sleep(left.min(step));
        left = left.saturating_sub(step);
    }
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    path.with_file_name(name)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
