"""Image files of other programs, and folders of DICOM files: whole and unambiguous, or refused in one sentence."""
