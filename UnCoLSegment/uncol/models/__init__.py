"""The students: their networks, their files, the device they run on. Every room above may enter."""
