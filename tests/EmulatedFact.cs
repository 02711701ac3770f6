namespace TorchFlash.Testing;

/// <summary>A test that needs the emulated GPU: skipped where it could not be built (not Linux, or no g++).</summary>
internal sealed class EmulatedFactAttribute : FactAttribute
{
    public EmulatedFactAttribute() => Skip = EmulatedLibrary.Missing;
}

/// <summary>Tests that need the emulated GPU: skipped where it could not be built (not Linux, or no g++).</summary>
internal sealed class EmulatedTheoryAttribute : TheoryAttribute
{
    public EmulatedTheoryAttribute() => Skip = EmulatedLibrary.Missing;
}
