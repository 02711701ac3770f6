using TorchSharp;

namespace TorchSharpTests;

public class SignatureTests
{
    /// <summary>
    /// Code compiled against this provider must compile against TorchSharp: every public member is one of TorchSharp's.
    /// The list holds the provider's members as <see cref="Signatures"/> printed them from TorchSharp 0.105.1 and from its
    /// main branch (0.107), built from source; a line is there only if both have it.
    /// </summary>
    [Fact]
    public void EveryPublicMemberIsOneOfTorchSharps()
    {
        using var stream = typeof(SignatureTests).Assembly.GetManifestResourceStream("TorchSharp.signatures.txt")!;
        using var reader = new StreamReader(stream);
        HashSet<string> known = [.. reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries)];
        string[] members = Signatures.Of(typeof(torch).Assembly).ToArray();
        string[] unknown = members.Where(member => !known.Contains(member)).ToArray();
        Assert.True(
            unknown.Length == 0,
            "Not in the list of TorchSharp's members (compare with TorchSharp's source, correct, or add to TorchSharp.signatures.txt):\n"
            + string.Join('\n', unknown));
        Assert.True(members.Length > 900, "the comparison saw too few members to mean anything");
    }
}
