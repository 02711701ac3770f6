using AttentionBench.Measuring;

namespace AttentionBench.Tests;

public class StatisticsTests
{
    [Fact]
    public void TheMedianOfAnEvenNumberOfValuesIsTheMeanOfTheMiddleTwo() => Assert.Equal(2.5, Measure.Median([4, 1, 3, 2]));
}
