//! The files of a campaign.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Luma};
use sha2::{Digest, Sha256};

use crate::support::{png_checksum, write_texts};

/// The limit of pixels of those workers that dead-letter the large images.
pub const LOW_PIXEL_LIMIT: u32 = 16_000_000;
/// Files in a folder that is ingested at once.
pub const FOLDER: usize = 40;

/// Makes folders of files that are all different.
pub struct FileMaker {
    rng: fastrand::Rng,
    /// An image above [`LOW_PIXEL_LIMIT`], and one that is above every limit.
    large_image: Vec<u8>,
    refused_image: Vec<u8>,
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// The SHA-256 of each file in lower-case hexadecimal digits.
    pub good: Vec<String>,
    /// Of those that no worker can parse.
    pub refused: Vec<String>,
}

impl FileMaker {
    pub fn new(rng: fastrand::Rng) -> Self {
        let image = image::ImageBuffer::from_pixel(4_100, 4_000, Luma([200u8]));
        let mut large_image = Cursor::new(Vec::new());
        image.write_to(&mut large_image, ImageFormat::Png).unwrap();
        let mut refused_image = large_image.get_ref().clone();
        // The width in the header, and a checksum of the header that fits.
        refused_image[16..20].copy_from_slice(&2_000_000_u32.to_be_bytes());
        let sum = png_checksum(&refused_image[12..29]);
        refused_image[29..33].copy_from_slice(&sum.to_be_bytes());
        Self { rng, large_image: large_image.into_inner(), refused_image }
    }

    /// Writes [`FOLDER`] files: texts, and at times an image.
    pub fn write(&mut self, folder: &Path) -> Written {
        std::fs::create_dir_all(folder).unwrap();
        write_texts(folder, FOLDER - 2, &mut self.rng);
        let mut written = Written::default();
        if self.rng.bool() {
            self.write_image(&folder.join("large.png"), false);
        }
        if self.rng.u8(..3) == 0 {
            written.refused.push(self.write_image(&folder.join("refused.png"), true));
        }
        for entry in walk(folder) {
            let sha256 = hexadecimal(&std::fs::read(entry).unwrap());
            if !written.refused.contains(&sha256) {
                written.good.push(sha256);
            }
        }
        written
    }

    /// Bytes after a PNG's end are ignored; they make each image a different file.
    fn write_image(&mut self, path: &Path, refused: bool) -> String {
        let image = if refused { &self.refused_image } else { &self.large_image };
        let bytes = [image, &self.rng.u128(..).to_be_bytes()[..]].concat();
        std::fs::write(path, &bytes).unwrap();
        hexadecimal(&bytes)
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
