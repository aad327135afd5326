"""What the user sees and clicks; the only room that knows Qt. Only the module's widget may enter."""
