/** Images that a user pastes, as the server takes them: in the message itself. */
const TYPES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const MOST_BYTES = 10 * 1024 * 1024; // of one image; the server's limit
const MOST_IMAGES = 5; // of one message, whose body is at most 16 MiB
const MOST_TOTAL_CHARACTERS = 15 * 1024 * 1024;

/** Return the pasted images as data URLs behind those that are there. Errors: Error, with what to do */
export async function withImages(there: readonly string[], files: readonly File[]): Promise<string[]> {
  const images = files.filter((file) => file.type.startsWith("image/"));
  for (const file of images) {
    if (!TYPES.includes(file.type)) throw new Error("Paste a PNG, JPEG, GIF or WebP image; models read no other kind.");
    if (file.size > MOST_BYTES) throw new Error("The image is larger than 10 MiB. Make it smaller, then paste it again.");
  }
  const all = [...there, ...(await Promise.all(images.map(dataUrl)))];
  const total = all.reduce((sum, url) => sum + url.length, 0);
  if (all.length > MOST_IMAGES || total > MOST_TOTAL_CHARACTERS) {
    throw new Error(`A message takes ${MOST_IMAGES} images and 15 MiB. Send these first.`);
  }
  return all;
}

function dataUrl(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Error("The image cannot be read. Paste it again."));
    reader.readAsDataURL(file);
  });
}
