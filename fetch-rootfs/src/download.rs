//! A URL's body as one stream: where the connection breaks off, the rest is asked for, and who
//! reads does not notice.
//!
//! What came before the break and what comes after must be of one file. A server that tells
//! versions apart (ETag, Last-Modified) is asked for the rest of that version. From any other all
//! of it is got once more, and its start must have the digest of what came before.

use std::io::{self, Read};

use common::Failure;
use sha2::{Digest, Sha256};

use crate::credentials;
use crate::http::{Answer, Client, Trouble};
use crate::oci::digest::Verified;
use crate::patience::Patience;

/// What tells one version of a file from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    pub etag: Option<String>,
    pub modified: Option<String>,
}

impl Version {
    fn of(answer: &Answer) -> Self {
        let header = |name| answer.header(name).map(str::to_owned);
        Self { etag: header("etag"), modified: header("last-modified") }
    }

    /// The headers that ask for any other version only.
    fn unless_it_is(&self) -> Vec<(&str, &str)> {
        let etag = self.etag.as_deref().map(|etag| ("if-none-match", etag));
        let modified = self.modified.as_deref().map(|date| ("if-modified-since", date));
        etag.into_iter().chain(modified).collect()
    }

    /// What `If-Range` may name: a weak `ETag` says only that two versions are worth the same.
    fn exact(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.modified.as_deref())
    }
}

/// A body that is being read.
pub struct Download {
    client: Client,
    url: String,
    patience: Patience,
    body: Box<dyn Read + Send>,
    version: Version,
    length: Option<u64>,
    done: u64,
    digest: Sha256,
    failure: Option<Failure>,
}

impl Download {
    /// Begins; gives nothing if what is known is still what the server has.
    pub fn open(
        client: Client,
        url: &str,
        retries: u32,
        known: Option<&Version>,
    ) -> Result<Option<Self>, Failure> {
        let ask = known.map(Version::unless_it_is).unwrap_or_default();
        let answer = Patience::new(retries).until(|| first(&client, url, &ask))?;
        if answer.status == 304 {
            return Ok(None);
        }
        Ok(Some(Self {
            client,
            url: url.to_owned(),
            patience: Patience::new(retries),
            version: Version::of(&answer),
            length: answer.length,
            body: answer.body,
            done: 0,
            digest: Sha256::new(),
            failure: None,
        }))
    }

    pub fn length(&self) -> Option<u64> {
        self.length
    }

    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The digest of what has been read.
    pub fn sha256(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }

    /// Why reading it failed, better than the error that a reader got.
    pub fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// After a break: has the body go on where it was.
    fn go_on(&mut self, mut trouble: Trouble) -> io::Result<()> {
        while self.patience.another(&trouble) {
            match self.rest() {
                Ok(body) => {
                    self.body = body;
                    return Ok(());
                }
                Err(again) => trouble = again,
            }
        }
        let trouble = self.patience.end(trouble);
        let error = io::Error::other(trouble.what.clone());
        self.failure = Some(trouble.into());
        Err(error)
    }

    fn rest(&self) -> Result<Box<dyn Read + Send>, Trouble> {
        let range = format!("bytes={}-", self.done);
        let ask = match self.version.exact() {
            Some(version) => vec![("range", range.as_str()), ("if-range", version)],
            None => vec![],
        };
        let answer = self.client.get(&self.url, &ask)?;
        match answer.status {
            206 if !ask.is_empty() => self.follows(answer),
            200 => self.without_start(answer),
            status => {
                let what = format!("get the rest of {:?}: the server answers", shown(&self.url));
                Err(Trouble::lasting(format!("{what} {status}")))
            }
        }
    }

    /// The part must be the one that was asked for, of a file of the same length.
    fn follows(&self, answer: Answer) -> Result<Box<dyn Read + Send>, Trouble> {
        let range = answer.header("content-range").unwrap_or_default();
        let (start, whole) = content_range(range).unzip();
        let whole = whole.flatten();
        let same = self.length.is_none() || whole.is_none() || whole == self.length;
        match start == Some(self.done) && same {
            true => Ok(answer.body),
            false => Err(self.changed(&format!("it sends {range:?}"))),
        }
    }

    /// All of it once more: what came before is left out, if it is the same.
    fn without_start(&self, mut answer: Answer) -> Result<Box<dyn Read + Send>, Trouble> {
        if self.length.is_some() && answer.length.is_some() && answer.length != self.length {
            return Err(self.changed("it has another length"));
        }
        let mut start = Verified::new(answer.body.by_ref().take(self.done), None);
        let copied = io::copy(&mut start, &mut io::sink()).or_else(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(0),
            _ => Err(self.client.broken(&self.url, &error)),
        })?;
        if copied < self.done {
            return Err(self.too_short(copied));
        }
        match start.digest().bytes() == self.sha256() {
            true => Ok(answer.body),
            false => Err(self.changed("it begins otherwise")),
        }
    }

    fn changed(&self, how: &str) -> Trouble {
        let url = shown(&self.url);
        Trouble::lasting(format!("read {url:?}: it was changed meanwhile: {how}"))
            .hint("its maker has just published another version: run it again")
    }

    fn too_short(&self, at: u64) -> Trouble {
        let whole = self.length.map_or_else(String::new, |length| format!(" of {length}"));
        let url = shown(&self.url);
        Trouble::passing(format!("read {url:?}: the server ends it after {at}{whole} bytes"))
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let trouble = match self.body.read(buffer) {
                Ok(0) if !buffer.is_empty() && self.length.is_some_and(|all| self.done < all) => {
                    self.too_short(self.done)
                }
                Ok(read) => {
                    self.done += read as u64;
                    self.digest.update(&buffer[..read]);
                    self.patience.renew();
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.too_short(self.done)
                }
                Err(error) => self.client.broken(&self.url, &error),
            };
            self.go_on(trouble)?;
        }
    }
}

/// All of it, or that nothing has changed; 206 is for those who ask for a part.
fn first(client: &Client, url: &str, ask: &[(&str, &str)]) -> Result<Answer, Trouble> {
    let answer = client.get(url, ask)?;
    match answer.status {
        200 => Ok(answer),
        304 if !ask.is_empty() => Ok(answer),
        status => {
            let what = format!("get {:?}: the server answers {status} unasked", answer.url);
            Err(Trouble::lasting(what))
        }
    }
}

fn shown(url: &str) -> String {
    credentials::split_url(url).0
}

/// `bytes 100-199/200`: where it starts, and the length of the whole if that is told.
pub fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let number = |text: &str| text.parse().ok().filter(|_| !text.starts_with('+'));
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (number(start)?, number(end)?);
    let whole = match whole {
        "*" => None,
        whole => Some(number(whole)?),
    };
    (start <= end && whole.is_none_or(|whole| end < whole)).then_some((start, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_start_and_perhaps_a_whole() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for text in [
            "",
            "bytes */10",
            "bytes x-9/10",
            "items 5-9/10",
            "bytes 5-/10",
            "bytes 5-4/10",
            "bytes 5-10/10",
            "bytes 5-9/x",
            "bytes +5-9/10",
            "bytes 5-9/",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_exact_names_a_part() {
        let version = |etag: &str, modified: Option<&str>| Version {
            etag: Some(etag.into()),
            modified: modified.map(str::to_owned),
        };
        assert_eq!(version("\"a\"", None).exact(), Some("\"a\""));
        assert_eq!(version("W/\"a\"", Some("date")).exact(), Some("date"));
        assert_eq!(version("W/\"a\"", None).exact(), None);
    }
}
