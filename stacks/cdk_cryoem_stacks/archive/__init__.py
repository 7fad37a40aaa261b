"""From the bucket to the archive and back: `cryoem archive`, `restore`, `deposit`."""
